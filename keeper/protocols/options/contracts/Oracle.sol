// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ECDSA} from "solady/src/utils/ECDSA.sol";
import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";
import {Fixed} from "./lib/Fixed.sol";

/// @title Oracle
/// @notice Prices, marks, smiles, the settlement average, the live clock and the breaker level.
///
/// Every number is a function of stored state and block.timestamp: no poke is needed before a read, and any
/// number of pokes leaves it unchanged. Messages are signed by the publisher and carried by anyone.
contract Oracle {
    /* ------------------------------------------------------------------------------------------------------
                                                      TYPES
    ------------------------------------------------------------------------------------------------------ */

    struct Feed {
        uint64 spot; //        8 decimals
        uint40 time; //        of the message
        uint32 round; //       number of messages
        uint16 confidence; //  bps
        uint40 resumed; //     block time of the first message after an outage
        uint40 dead; //        seconds in which the feed was older than maxAge, up to `time`
        uint128 slow; //       wad, EWMA with time constant slowT
        uint128 fast; //       wad, EWMA with time constant fastT
        uint160 sum; //        8 decimals x seconds, integral of spot up to `time`
        uint40 running; //     running time (see below) at `time`
    }

    struct Smile {
        uint32 atm; //         ppm
        int32 skew; //         ppm
        int32 curv; //         ppm
        int32 rate; //         ppm per year
        uint40 time; //        of the message
        uint16 confidence; //  bps
        uint64 smooth; //      wad, EWMA of atm with time constant smileT
    }

    /// @dev The last message before a multiple of `window`: enough to know the integral there.
    struct Step {
        uint40 time;
        uint64 spot; // 8 decimals
        uint152 sum; // 8 decimals x seconds
    }

    struct Config {
        address publisher;
        address guardian; //  may only raise the level
        address governor;
        uint256 slowT; //     seconds
        uint256 fastT; //     seconds
        uint256 smileT; //    seconds
        uint256 smileBand; // wad around the smooth atm
        uint256 maxAge; //    seconds, a spot older than this is stale
        uint256 smileAge; //  seconds, a smile older than this has confidence 0
        uint256 window; //    seconds of the settlement average; expiries are multiples of it
    }

    event Configured(Config config);
    event Published(uint256 indexed u, uint256 round, uint256 spot, uint256 time, uint256 confidence);
    event SmilePublished(
        uint256 indexed u, uint256 indexed expiry, uint256 atm, int256 skew, int256 curv, int256 rate,
        uint256 time, uint256 confidence
    );
    event Breaker(uint256 level, uint256 paused);

    error BadSignature();
    error BadMessage();
    error OutOfOrder(uint256 time, uint256 last);
    error FromTheFuture(uint256 time, uint256 now_);
    error TooOld(uint256 time, uint256 now_);
    error Unknown(uint256 u, uint256 expiry);
    error NotSettled(uint256 u, uint256 expiry);
    error Unauthorised();

    /* ------------------------------------------------------------------------------------------------------
                                                     STORAGE
    ------------------------------------------------------------------------------------------------------ */

    uint256 private constant WAD = 1e18;

    address public immutable publisher;
    address public immutable guardian;
    address public immutable governor;
    uint256 public immutable slowT;
    uint256 public immutable fastT;
    uint256 public immutable smileT;
    uint256 public immutable smileBand;
    uint256 public immutable maxAge;
    uint256 public immutable smileAge;
    uint256 public immutable window;

    mapping(uint256 u => Feed) internal feeds;
    mapping(uint256 u => mapping(uint256 expiry => Smile)) internal smiles;
    mapping(uint256 u => Step[]) internal steps; // by time; one for every crossing of a multiple of window

    uint8 public level; //      0 normal, 1 no new risk, 2 also no new auctions, 3 also no bids and the clock stands
    uint40 internal pausedAt; // when level 3 began
    uint40 internal paused; //   seconds at level 3, ended spells only

    constructor(Config memory c) {
        publisher = c.publisher;
        guardian = c.guardian;
        governor = c.governor;
        slowT = c.slowT;
        fastT = c.fastT;
        smileT = c.smileT;
        smileBand = c.smileBand;
        maxAge = c.maxAge;
        smileAge = c.smileAge;
        window = c.window;
        emit Configured(c);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                   PUBLICATION
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Accept a price. `time` must be newer than the last and no older than maxAge.
    /// @param spot 8 decimals @param confidence bps
    function publish(uint256 u, uint256 spot, uint256 time, uint256 confidence, bytes calldata signature) external {
        _authentic(keccak256(abi.encode(block.chainid, address(this), "spot", u, spot, time, confidence)), signature);
        if (spot == 0 || spot > type(uint64).max || confidence > 1e4 || u > 255) revert BadMessage();
        _inOrder(time, feeds[u].time, maxAge);

        Feed memory f = feeds[u];
        if (f.round == 0) {
            f.slow = f.fast = uint128(spot * 1e10);
            f.resumed = uint40(block.timestamp);
        } else {
            (uint256 dt, uint256 last) = (time - f.time, uint256(f.spot) * 1e10);
            f.slow = uint128(ewma(f.slow, last, dt, slowT));
            f.fast = uint128(ewma(f.fast, last, dt, fastT));
            if (time / window != f.time / window) steps[u].push(Step(f.time, f.spot, uint152(f.sum)));
            f.sum += uint160(f.spot * dt);
            uint256 lost = _lost(f);
            if (lost != 0) (f.dead, f.resumed) = (uint40(f.dead + lost), uint40(block.timestamp));
        }
        f.round += 1;
        (f.spot, f.time, f.confidence) = (uint64(spot), uint40(time), uint16(confidence));
        f.running = uint40(_running());
        feeds[u] = f;
        emit Published(u, f.round, spot, time, confidence);
    }

    /// @notice Accept a smile for one expiry: sigma(K) = atm + skew x + curv x^2, x = ln(K/F) / sqrt(t). All ppm.
    function publishSmile(
        uint256 u, uint256 expiry, uint256 atm, int256 skew, int256 curv, int256 rate, uint256 time,
        uint256 confidence, bytes calldata signature
    ) external {
        _authentic(
            keccak256(
                abi.encode(block.chainid, address(this), "smile", u, expiry, atm, skew, curv, rate, time, confidence)
            ),
            signature
        );
        if (atm == 0 || atm > 5e6 || confidence > 1e4 || expiry % window != 0 || expiry > type(uint40).max) {
            revert BadMessage();
        }
        if (int32(skew) != skew || int32(curv) != curv || int32(rate) != rate) revert BadMessage();
        Smile storage s = smiles[u][expiry];
        _inOrder(time, s.time, smileAge);
        uint256 smooth = s.time == 0 ? atm * 1e12 : ewma(s.smooth, uint256(s.atm) * 1e12, time - s.time, smileT);
        smiles[u][expiry] = Smile(
            uint32(atm), int32(skew), int32(curv), int32(rate), uint40(time), uint16(confidence), uint64(smooth)
        );
        emit SmilePublished(u, expiry, atm, skew, curv, rate, time, confidence);
    }

    function _authentic(bytes32 digest, bytes calldata signature) internal view {
        if (ECDSA.tryRecoverCalldata(digest, signature) != publisher) revert BadSignature();
    }

    function _inOrder(uint256 time, uint256 last, uint256 age) internal view {
        if (time <= last) revert OutOfOrder(time, last);
        if (time > block.timestamp) revert FromTheFuture(time, block.timestamp);
        if (block.timestamp - time > age) revert TooOld(time, block.timestamp);
    }

    /// @notice Exponentially weighted mean over `dt` seconds in which `price` was held: mean a + price (1 - a),
    /// a = exp(-dt / t). A semigroup in dt: poking changes nothing (up to 1 wei of rounding).
    function ewma(uint256 mean, uint256 price, uint256 dt, uint256 t) public pure returns (uint256) {
        uint256 a = uint256(Math.expWad(-int256(dt * WAD / t)));
        return (mean * a + price * (WAD - a)) / WAD;
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    LIVE CLOCK
    ------------------------------------------------------------------------------------------------------ */

    /// @dev Seconds that were not spent at breaker level 3.
    function _running() internal view returns (uint256) {
        return (pausedAt == 0 ? block.timestamp : pausedAt) - paused;
    }

    /// @dev Running seconds since the feed's message beyond maxAge.
    function _lost(Feed memory f) internal view returns (uint256) {
        uint256 age = _running() - f.running;
        return age > maxAge ? age - maxAge : 0;
    }

    /// @notice Live seconds of underlying `u`: stands at level 3 and while the feed is older than maxAge.
    function clock(uint256 u) public view returns (uint256) {
        Feed memory f = feeds[u];
        return _running() - f.dead - _lost(f);
    }

    /// @return live seconds, number of messages, block time since when it runs without an outage, standing still now
    function pulse(uint256 u) external view returns (uint256 live, uint256 round, uint256 resumed, bool stale) {
        Feed memory f = feeds[u];
        return (clock(u), f.round, f.resumed, _stale(f));
    }

    function _stale(Feed memory f) internal view returns (bool) {
        return level == 3 || block.timestamp - f.time > maxAge;
    }

    /* ------------------------------------------------------------------------------------------------------
                                                      READS
    ------------------------------------------------------------------------------------------------------ */

    /// @return spot wad @return slow wad @return fast wad, both at block.timestamp @return confidence bps
    function prices(uint256 u)
        external
        view
        returns (uint256 spot, uint256 slow, uint256 fast, uint256 confidence, bool stale)
    {
        Feed memory f = feeds[u];
        if (f.round == 0) revert Unknown(u, 0);
        spot = uint256(f.spot) * 1e10;
        uint256 dt = block.timestamp - f.time;
        slow = ewma(f.slow, spot, dt, slowT);
        fast = ewma(f.fast, spot, dt, fastT);
        confidence = f.confidence;
        stale = _stale(f);
    }

    /// @notice The smile as margin uses it: atm limited to smileBand around its own smooth value.
    /// @return atm wad @return skew wad @return curv wad @return rate wad per year @return confidence bps
    function smile(uint256 u, uint256 expiry)
        external
        view
        returns (uint256 atm, int256 skew, int256 curv, int256 rate, uint256 confidence)
    {
        Smile memory s = smiles[u][expiry];
        if (s.time == 0) revert Unknown(u, expiry);
        atm = uint256(s.atm) * 1e12;
        uint256 smooth = ewma(s.smooth, atm, block.timestamp - s.time, smileT);
        atm = Fixed.clamp(atm, smooth * (WAD - smileBand) / WAD, smooth * (WAD + smileBand) / WAD);
        (skew, curv, rate) = (int256(s.skew) * 1e12, int256(s.curv) * 1e12, int256(s.rate) * 1e12);
        confidence = block.timestamp - s.time > smileAge ? 0 : s.confidence;
    }

    /// @notice How much of the settlement average of `expiry` is known.
    /// @return fixed_ wad, part of the settlement price that no longer moves
    /// @return open wad, weight of the price from now on: 1 before the window, 0 after expiry
    function observed(uint256 u, uint256 expiry) public view returns (uint256 fixed_, uint256 open) {
        if (block.timestamp + window <= expiry) return (0, WAD);
        uint256 until = block.timestamp < expiry ? block.timestamp : expiry;
        fixed_ = (_sumAt(u, until) - _sumAt(u, expiry - window)) * 1e10 / window;
        open = (expiry - until) * WAD / window;
    }

    /// @notice The average price over the last `window` seconds before expiry; final after the next message.
    /// @return wad
    function settlement(uint256 u, uint256 expiry) external view returns (uint256) {
        if (feeds[u].time < expiry) revert NotSettled(u, expiry);
        (uint256 price,) = observed(u, expiry);
        return price;
    }

    /// @dev Integral of the price, last message held. `t` is not before the feed's last message, or a multiple of
    /// window: then the last message before it left a step.
    function _sumAt(uint256 u, uint256 t) internal view returns (uint256) {
        Feed memory f = feeds[u];
        if (t >= f.time) return f.sum + uint256(f.spot) * (t - f.time);
        Step[] storage all = steps[u];
        uint256 high = all.length; //           steps from here on are not before t
        uint256 low = high;
        for (uint256 jump = 1; low != 0 && all[low - 1].time >= t; jump <<= 1) {
            high = low - 1;
            low = low > jump ? low - jump : 0;
        }
        while (low < high) {
            uint256 middle = (low + high) >> 1;
            if (all[middle].time < t) low = middle + 1;
            else high = middle;
        }
        if (low == 0) revert NotSettled(u, t);
        Step memory s = all[low - 1];
        return s.sum + uint256(s.spot) * (t - s.time);
    }

    function feed(uint256 u) external view returns (Feed memory) {
        return feeds[u];
    }

    function rawSmile(uint256 u, uint256 expiry) external view returns (Smile memory) {
        return smiles[u][expiry];
    }

    /* ------------------------------------------------------------------------------------------------------
                                                     BREAKER
    ------------------------------------------------------------------------------------------------------ */

    /// @notice The guardian may raise the level, the governor may set any.
    function setLevel(uint8 to) external {
        if (msg.sender != governor && !(msg.sender == guardian && to > level)) revert Unauthorised();
        if (to > 3) revert BadMessage();
        if (to == 3 && level != 3) pausedAt = uint40(block.timestamp);
        if (to != 3 && level == 3) {
            paused += uint40(block.timestamp) - pausedAt;
            pausedAt = 0;
        }
        level = to;
        emit Breaker(to, paused);
    }
}
