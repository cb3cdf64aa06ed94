// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Scenario
/// @notice One scenario in one word.
///
///     | ln(1 + spot) 64, wad | 128 unused | weight 16 | vol 16 | kind 8 | spot 16 | 8 unused |
///
/// spot, vol and weight are bps; spot and vol are signed. The logarithm is filled in by `Params`.
library Scenario {
    uint256 internal constant NONE = 0; //     vol is not shocked
    uint256 internal constant TERM = 1; //     sigma (1 + vol (30 days / t)^power), at least 0
    uint256 internal constant RELATIVE = 2; // sigma (1 + vol), at least 0
    uint256 internal constant ABSOLUTE = 3; // sigma + vol, at least 0

    /// @return wad
    function spot(uint256 s) internal pure returns (int256) {
        return int256(int16(uint16(s >> 8))) * 1e14;
    }

    function kind(uint256 s) internal pure returns (uint256) {
        return (s >> 24) & 0xff;
    }

    /// @return wad
    function vol(uint256 s) internal pure returns (int256) {
        return int256(int16(uint16(s >> 32))) * 1e14;
    }

    /// @return wad
    function weight(uint256 s) internal pure returns (uint256) {
        return ((s >> 48) & 0xffff) * 1e14;
    }

    /// @return wad
    function lnSpot(uint256 s) internal pure returns (int256) {
        return int64(uint64(s >> 192));
    }

    function withLn(uint256 s, int256 ln) internal pure returns (uint256) {
        return (s & (type(uint256).max >> 64)) | (uint256(uint64(int64(ln))) << 192);
    }
}
