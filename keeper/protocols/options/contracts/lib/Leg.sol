// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Leg
/// @notice One option position in one word. Words are sorted by underlying, then expiry.
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

    /// @dev legs[i], of an `i` that is known to be within.
    function at(uint256[] memory legs, uint256 i) internal pure returns (uint256 leg) {
        assembly ("memory-safe") {
            leg := mload(add(add(legs, 0x20), shl(5, i)))
        }
    }

    function next(uint256 i) internal pure returns (uint256) {
        unchecked {
            return i + 1;
        }
    }

    /// @return end of the run of legs from `i` that are of underlying `u`
    function endOf(uint256[] memory legs, uint256 i, uint256 u) internal pure returns (uint256 end) {
        unchecked {
            for (end = i; end < legs.length; ++end) {
                if (underlying(at(legs, end)) != u) break;
            }
        }
    }

    /// @dev By underlying and expiry; the order within an expiry does not matter. Insertion sort: at most 32 words.
    function sort(uint256[] memory legs) internal pure {
        assembly ("memory-safe") {
            let first := add(legs, 0x20)
            let end := add(first, shl(5, mload(legs)))
            for { let i := add(first, 0x20) } lt(i, end) { i := add(i, 0x20) } {
                let x := mload(i)
                let j := i
                for {} gt(j, first) { j := sub(j, 0x20) } {
                    let y := mload(sub(j, 0x20))
                    if iszero(gt(shr(200, y), shr(200, x))) { break }
                    mstore(j, y)
                }
                mstore(j, x)
            }
        }
    }
}
