// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";

/// @title Pace
/// @notice How fast a maintenance requirement may rise without a move of the price: 1 % a minute, compounding.
/// What moves it so is the volatility factor of the scenarios (`Oracle.stress`) and a new parameter set
/// (`Params.ramp`); initial margin follows both at once.
library Pace {
    /// @dev ln(1.01) / 60, wad per second, rounded down
    uint256 internal constant RATE = 165838847552801;

    /// @return wad, >= 1
    function growth(uint256 dt) internal pure returns (uint256) {
        unchecked {
            return uint256(Math.expWad(int256(dt * RATE))); // a time is below 2^40
        }
    }
}
