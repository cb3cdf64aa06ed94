// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Leg
/// @notice One option position in one word. Sorting words sorts by underlying, then expiry.
///
///     | 8 unused | underlying 8 | expiry 40 | call 8 | strike 64 | size 128 |
///
/// strike has 8 decimals; size is wad, two's complement, negative when short.
/// The upper 128 bits are the series; a size of zero is no leg.
library Leg {
    uint256 internal constant SIZE = type(uint128).max;

    function underlying(uint256 leg) internal pure returns (uint256) {
        return (leg >> 240) & 0xff;
    }

    function expiry(uint256 leg) internal pure returns (uint256) {
        return (leg >> 200) & 0xffffffffff;
    }

    function isCall(uint256 leg) internal pure returns (bool) {
        return (leg >> 192) & 0xff == 1;
    }

    /// @return wad
    function strike(uint256 leg) internal pure returns (uint256) {
        return ((leg >> 128) & 0xffffffffffffffff) * 1e10;
    }

    function size(uint256 leg) internal pure returns (int256) {
        return int128(uint128(leg));
    }

    function series(uint256 leg) internal pure returns (uint256) {
        return leg >> 128;
    }

    function withSize(uint256 leg, int256 n) internal pure returns (uint256) {
        return (leg & ~SIZE) | (uint256(n) & SIZE);
    }

    /// @dev Insertion sort: at most 32 words, and nearly sorted in practice.
    function sort(uint256[] memory legs) internal pure {
        unchecked {
            for (uint256 i = 1; i < legs.length; ++i) {
                uint256 x = legs[i];
                uint256 j = i;
                while (j != 0 && legs[j - 1] > x) {
                    legs[j] = legs[j - 1];
                    --j;
                }
                legs[j] = x;
            }
        }
    }
}
