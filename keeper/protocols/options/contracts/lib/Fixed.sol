// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Fixed
/// @notice Wad arithmetic with the rounding in the name.
library Fixed {
    int256 internal constant WAD = 1e18;

    error Overflow(int256 a, int256 b);

    /// @return r floor(a b / 1e18)
    function mulDown(int256 a, int256 b) internal pure returns (int256 r) {
        unchecked {
            int256 p = a * b;
            if (a != 0 && (p / a != b || (a == -1 && b == type(int256).min))) revert Overflow(a, b);
            r = p / WAD;
            if (p < 0 && r * WAD != p) --r;
        }
    }

    /// @dev mulDown for a caller who knows that the product fits.
    function rawMulDown(int256 a, int256 b) internal pure returns (int256 r) {
        assembly ("memory-safe") {
            let p := mul(a, b)
            r := sdiv(p, 1000000000000000000)
            r := sub(r, slt(p, mul(r, 1000000000000000000)))
        }
    }

    /// @return ceil(a b / 1e18)
    function mulUp(int256 a, int256 b) internal pure returns (int256) {
        return -mulDown(-a, b);
    }

    /// @return ceil(a b / 1e18) for a, b >= 0
    function mulUp(uint256 a, uint256 b) internal pure returns (uint256) {
        return (a * b + 1e18 - 1) / 1e18;
    }

    function clamp(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return x < low ? low : x > high ? high : x;
    }

    function distance(uint256 a, uint256 b) internal pure returns (uint256) {
        return a > b ? a - b : b - a;
    }

    function abs(int256 x) internal pure returns (uint256) {
        return x < 0 ? uint256(-x) : uint256(x);
    }
}
