// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Accounts} from "./Accounts.sol";

/// @title Reader
/// @notice Many accounts in one answer, as they lie in storage. It is never deployed: a node that is asked puts this
/// code in the place of `Clearing`'s for the length of one `eth_call` (its state override), and `Clearing`'s slots
/// are read without a call, an ABI or a copy in between.
///
///     once       number of assets listed
///     heads      a word for each account, see `Accounts.Account`; the upper 8 bits are unused
///                8 unused | uint8 assets held, a bit each | uint8 legs | uint40 change id | uint64 index | int128 cash
///     holdings   account by account: a word for each leg, see `Leg.sol`, in no particular order; then one for each
///                asset held, native units
contract Reader is Accounts {
    /// @notice The accounts, without any ABI head.
    /// @dev Memory is all its own, as it returns from here: below 0x80 lies what slots are hashed from.
    function read(uint256[] calldata wanted) external view {
        uint256 listed = assetCount;
        assembly {
            mstore(0x20, accounts.slot)
            mstore(0x60, legs.slot)
            mstore(0x80, listed)
            let head := 0xa0
            let at := add(head, shl(5, wanted.length))
            let from := wanted.offset
            for { let end := at } lt(head, end) { head := add(head, 32) } {
                let account := calldataload(from)
                from := add(from, 32)
                mstore(0x00, account)
                let word := sload(keccak256(0x00, 0x40))
                mstore(head, word)
                let count := byte(2, word)
                if count {
                    mstore(0x40, account)
                    let slot := keccak256(0x40, 0x40)
                    let last := add(at, shl(5, count))
                    for {} lt(at, last) { at := add(at, 32) } {
                        mstore(at, sload(slot))
                        slot := add(slot, 1)
                    }
                }
                let held := byte(1, word)
                if held {
                    mstore(0x40, account)
                    mstore(0x60, collateral.slot)
                    mstore(0x60, keccak256(0x40, 0x40))
                    for { let asset := 0 } held { asset := add(asset, 1) } {
                        if and(held, 1) {
                            mstore(0x40, asset)
                            mstore(at, sload(keccak256(0x40, 0x40)))
                            at := add(at, 32)
                        }
                        held := shr(1, held)
                    }
                    mstore(0x60, legs.slot)
                }
            }
            return(0x80, sub(at, 0x80))
        }
    }
}
