// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";
import {Normal} from "./Normal.sol";

/// @title Black76
/// @notice Black (1976) values in wad. The logarithm and the square root are the caller's, so that they are taken once
/// per leg and not once per scenario. Absolute error below 2e-15 of the greater of forward and strike.
library Black76 {
    uint256 private constant WAD = 1e18;
    /// @dev Below this total volatility an option is worth its intrinsic value.
    uint256 internal constant MIN_W = 1e9;

    /// @param normal where the table of `Normal` is
    /// @param f forward, wad
    /// @param k strike, wad, not 0
    /// @param lnFK ln(f / k), wad
    /// @param w sigma sqrt(t), wad
    /// @return v undiscounted value, wad, never negative
    /// @return n1 N(d1), times 2^54: the forward delta of the call
    function value(uint256 normal, bool isCall, uint256 f, uint256 k, int256 lnFK, uint256 w)
        internal
        pure
        returns (uint256 v, uint256 n1)
    {
        unchecked {
            if (w < MIN_W) {
                if (f > k) return (isCall ? f - k : 0, Normal.ONE);
                return (isCall ? 0 : k - f, 0);
            }
            int256 d;
            assembly ("memory-safe") {
                d := add(sdiv(mul(lnFK, WAD), w), shr(1, w))
            }
            n1 = Normal.cdf(normal, d);
            uint256 n2 = Normal.cdf(normal, d - int256(w));
            assembly ("memory-safe") {
                v := sar(54, sub(mul(f, n1), mul(k, n2)))
                if iszero(isCall) { v := add(v, sub(k, f)) }
                v := mul(sgt(v, 0), v)
            }
        }
    }

    /// @notice phi(d1), wad: forward gamma is phi(d1) / (f w), vega per unit of w is f phi(d1).
    function density(int256 lnFK, uint256 w) internal pure returns (uint256) {
        int256 d = lnFK * int256(WAD) / int256(w) + int256(w >> 1);
        return uint256(Math.expWad(-(d * d) / 2e18)) * 398942280401432678 / WAD;
    }
}
