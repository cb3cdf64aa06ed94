// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @notice An auction, as it is between a read and a write. On chain it is one word, see `Auctions`.
struct Auction {
    uint256 version; //     parameter set it keeps
    uint256 scenario; //    a byte per underlying: the proof, or a worse one found later
    uint256 flaggedAt; //   block time; 0 when no auction runs
    uint256 curedAt; //     block time of the last cure; 0 while an auction runs, and after a sale
    uint256 since; //       block time at which the clock began; earlier than flaggedAt after a cure
    uint256 clocks; //      36 bits per underlying, see `Clocks`
}

/// @title Auctions
/// @notice The word that a flag writes.
///
///     | clocks 144 | age 23 | runs 1 | time 40 | scenario 32 | version 16 |
///
/// time is flaggedAt while the auction runs, curedAt when it does not; age is the seconds from `since` to time, 97 days
/// at most: by then every clock has long been at its end.
library Auctions {
    uint256 internal constant MAX_AGE = (1 << 23) - 1;

    function runs(uint256 word) internal pure returns (bool) {
        return (word >> 88) & 1 != 0;
    }

    function unpack(uint256 word) internal pure returns (Auction memory a) {
        unchecked {
            uint256 time = (word >> 48) & 0xffffffffff;
            (a.version, a.scenario) = (word & 0xffff, (word >> 16) & 0xffffffff);
            if (runs(word)) a.flaggedAt = time;
            else a.curedAt = time;
            a.since = time - ((word >> 89) & MAX_AGE);
            a.clocks = word >> 112;
        }
    }

    function pack(Auction memory a) internal pure returns (uint256) {
        unchecked {
            uint256 time = a.flaggedAt + a.curedAt; // one of them is 0
            if (time == 0) return 0;
            uint256 age = time - a.since;
            if (age > MAX_AGE) age = MAX_AGE;
            uint256 runs = a.flaggedAt == 0 ? 0 : 1;
            return a.clocks << 112 | age << 89 | runs << 88 | time << 48 | a.scenario << 16 | a.version;
        }
    }
}

/// @title Clocks
/// @notice Where the clocks of an account's underlyings stood: its own when the auction's clock began, and the number of
/// its messages at the flag. Per underlying, the first lowest:
///
///     | counts 1 | live seconds 22 | messages 13 |
///
/// Both are differences modulo their width. A clock comes round after 48 days, 40 days after it was at its end: as by a
/// restart. Messages come round after 8,192: bids wait for the next few.
library Clocks {
    uint256 internal constant WIDTH = 36;
    uint256 private constant LIVE = (1 << 22) - 1;
    uint256 private constant ROUND = (1 << 13) - 1;

    /// @dev The 36 bits of underlying `u`.
    function entry(uint256 u, uint256 live, uint256 round) internal pure returns (uint256) {
        return (1 << 35 | (live & LIVE) << 13 | (round & ROUND)) << (WIDTH * u);
    }

    function counts(uint256 clocks, uint256 u) internal pure returns (bool) {
        return (clocks >> (WIDTH * u + 35)) & 1 != 0;
    }

    /// @return live seconds, messages since
    function passed(uint256 clocks, uint256 u, uint256 live, uint256 round)
        internal
        pure
        returns (uint256, uint256)
    {
        unchecked {
            uint256 then = clocks >> (WIDTH * u);
            return ((live - (then >> 13)) & LIVE, (round - then) & ROUND);
        }
    }

    /// @dev The clocks of `began` with the messages of `now_`. Whoever did not count then does not now.
    function resumed(uint256 began, uint256 now_) internal pure returns (uint256 clocks) {
        for (uint256 u; u < 4; ++u) {
            uint256 bits = (LIVE << 13 | 1 << 35) << (WIDTH * u);
            if (counts(began, u)) clocks |= (began & bits) | (now_ & (ROUND << (WIDTH * u)));
        }
    }
}
