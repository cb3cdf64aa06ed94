// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";

/// @title Black76
/// @notice Black (1976) values in wad. The logarithm and the square root are the caller's, so that they
/// are taken once per leg and not once per scenario; one exponential serves both normal densities, since
/// phi(d2) = phi(d1) F / K. Absolute error below 1e-12 of the greater of
/// forward and strike: where the tail is cut off; nearer the money 2e-15.
library Black76 {
    uint256 private constant WAD = 1e18;
    /// @dev Below this total volatility an option is worth its intrinsic value.
    uint256 internal constant MIN_W = 1e9;
    /// @dev N(-z) < 1e-12 beyond; the rational approximation ends here (Hart 1968, West 2005).
    uint256 private constant CUT = 7071067811865475244;

    /// @param f forward, wad
    /// @param k strike, wad, not 0
    /// @param lnFK ln(f / k), wad
    /// @param w sigma sqrt(t), wad
    /// @return v undiscounted value, wad, never negative
    /// @return n1 N(d1), wad: the forward delta of the call
    function value(bool isCall, uint256 f, uint256 k, int256 lnFK, uint256 w)
        internal
        pure
        returns (uint256 v, uint256 n1)
    {
        unchecked {
            if (w < MIN_W) {
                if (f > k) return (isCall ? f - k : 0, WAD);
                return (isCall ? 0 : k - f, 0);
            }
            int256 d;
            assembly ("memory-safe") {
                d := add(sdiv(mul(lnFK, WAD), w), shr(1, w))
                v := sdiv(sub(0, mul(d, d)), 2000000000000000000)
            }
            uint256 e = uint256(Math.expWad(int256(v)));
            n1 = cdf(d, e);
            assembly ("memory-safe") {
                d := sub(d, w)
                e := div(mul(e, f), k)
            }
            uint256 n2 = cdf(d, e);
            assembly ("memory-safe") {
                switch isCall
                case 0 { v := sub(mul(k, sub(WAD, n2)), mul(f, sub(WAD, n1))) }
                default { v := sub(mul(f, n1), mul(k, n2)) }
                v := mul(sgt(v, 0), div(v, WAD))
            }
        }
    }

    /// @notice phi(d1), wad: forward gamma is phi(d1) / (f w), vega per unit of w is f phi(d1).
    function density(int256 lnFK, uint256 w) internal pure returns (uint256) {
        int256 d = lnFK * int256(WAD) / int256(w) + int256(w >> 1);
        return uint256(Math.expWad(-(d * d) / 2e18)) * 398942280401432678 / WAD;
    }

    /// @notice Standard normal distribution, wad.
    /// @param e exp(-x^2 / 2), wad
    function cdf(int256 x, uint256 e) internal pure returns (uint256 r) {
        assembly ("memory-safe") {
            let z := xor(sar(255, x), add(sar(255, x), x))
            if lt(z, CUT) {
                // The tail N(-z) = e a(z) / b(z), in 2^64 fixed point, where dividing by the scale is a shift.
                z := div(shl(64, z), WAD)
                let a := add(shr(64, mul(650478250178244363, z)), 12919787143353136591)
                a := add(shr(64, mul(a, z)), 117578849504046139487)
                a := add(shr(64, mul(a, z)), 625581961353917287603)
                a := add(shr(64, mul(a, z)), 2067498006223917203771)
                a := add(shr(64, mul(a, z)), 4080670594171652639713)
                a := add(shr(64, mul(a, z)), 4062099735652764000329)
                let b := add(shr(64, mul(1630477228166597029, z)), 32386342837845824709)
                b := add(shr(64, mul(b, z)), 296331772558254578451)
                b := add(shr(64, mul(b, z)), 1600821957476871612086)
                b := add(shr(64, mul(b, z)), 5470644798650576484342)
                b := add(shr(64, mul(b, z)), 11756730424506726822414)
                b := add(shr(64, mul(b, z)), 14643514515380871948050)
                b := add(shr(64, mul(b, z)), 8124199471305528000658)
                r := div(mul(e, a), b)
            }
            if sgt(x, 0) { r := sub(WAD, r) }
        }
    }
}
