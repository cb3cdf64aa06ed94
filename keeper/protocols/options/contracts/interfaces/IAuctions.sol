// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title IAuctions
/// @notice What the clearing house asks the Liquidator.
interface IAuctions {
    /// @return whether an auction of the account runs: only deposits and reductions then
    function runs(uint256 account) external view returns (bool);
}
