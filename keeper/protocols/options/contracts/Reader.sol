// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Clearing} from "./Clearing.sol";

/// @title Reader
/// @notice Many accounts in one answer, packed. It has no state and need not be deployed: a node that is asked may be
/// given this code for any address (the state override of `eth_call`).
///
///     header   int128 cash | uint64 loss index | uint40 change id | uint8 legs | uint8 assets held | uint8 assets
///     legs     one word each, see `Leg.sol`, in no particular order
///     assets   one word each of those held (a bit each in the header), native units
contract Reader {
    /// @notice The accounts, one after the other, without any ABI head.
    function read(Clearing clearing, uint256[] calldata accounts) external view {
        uint256 listed = clearing.assetCount();
        bytes memory out = new bytes(accounts.length * (1 + clearing.MAX_LEGS() + listed) * 32);
        uint256 start;
        uint256 free;
        assembly ("memory-safe") {
            start := add(out, 32)
            free := mload(0x40)
        }
        uint256 at = start;
        for (uint256 i; i < accounts.length; ++i) {
            at = _one(clearing, accounts[i], listed, at);
            assembly ("memory-safe") {
                mstore(0x40, free) // what the calls returned is not needed any more
            }
        }
        assembly ("memory-safe") {
            return(start, sub(at, start))
        }
    }

    /// @dev Write one account at `at`; returns where it ends.
    function _one(Clearing clearing, uint256 account, uint256 listed, uint256 at) internal view returns (uint256) {
        Clearing.Account memory a = clearing.accountOf(account);
        uint256[] memory legs = clearing.portfolio(account).legs;
        uint256 index = a.index == 0 ? 1e18 : a.index;
        uint256 head = (uint256(uint128(a.cash)) << 128) | (index << 64) | (uint256(a.changeId) << 24);
        at = _write(at, head | (legs.length << 16) | (uint256(a.assets) << 8) | listed);
        for (uint256 i; i < legs.length; ++i) {
            at = _write(at, legs[i]);
        }
        for (uint256 asset; asset < listed; ++asset) {
            if (a.assets & (1 << asset) != 0) at = _write(at, clearing.collateralOf(account, asset));
        }
        return at;
    }

    function _write(uint256 at, uint256 word) internal pure returns (uint256) {
        assembly ("memory-safe") {
            mstore(at, word)
        }
        return at + 32;
    }
}
