// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title IBreaker
/// @notice What the clearing house may do to the breaker by itself: raise it, never lower it.
interface IBreaker {
    /// @notice Raise the level to `to`; nothing happens when it is there already. Only for trippers.
    /// @param reason for people: "insolvent", "deficit"
    function trip(uint8 to, bytes32 reason) external;

    /// @return 0 normal, 1 no new risk, 2 also no new auctions, 3 also no bids and the clock stands
    function level() external view returns (uint8);
}
