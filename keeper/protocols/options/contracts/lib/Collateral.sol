// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Collateral
/// @notice How one asset counts, in one word.
///
///     | 120 unused | haircutIm 64 | haircutMm 64 | underlying 8 |
///
/// Haircuts are wad of value; the underlying is the one whose price the asset has.
library Collateral {
    function underlying(uint256 c) internal pure returns (uint256) {
        return c & 0xff;
    }

    function haircutMm(uint256 c) internal pure returns (uint256) {
        return uint64(c >> 8);
    }

    function haircutIm(uint256 c) internal pure returns (uint256) {
        return uint64(c >> 72);
    }
}
