// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Accounts} from "./Accounts.sol";

/// @title Reader
/// @notice Many accounts in one answer, as they lie in storage. It is never deployed: a node that is asked puts this
/// code in the place of `Clearing`'s for the length of one `eth_call` (its state override), and `Clearing`'s slots
/// are read without a call, an ABI or a copy in between.
///
///     once     number of assets listed
///     account  8 unused | uint8 assets held, a bit each | uint8 legs | uint40 change id | uint64 index | int128 cash
///     legs     one word each, see `Leg.sol`, in no particular order
///     assets   one word each of those held, native units
contract Reader is Accounts {
    /// @notice The accounts, one after the other, without any ABI head.
    function read(uint256[] calldata wanted) external view {
        uint256 start;
        assembly ("memory-safe") {
            start := mload(0x40)
        }
        uint256 at = _write(start, assetCount);
        for (uint256 i; i < wanted.length; ++i) {
            at = _one(wanted[i], at);
        }
        assembly ("memory-safe") {
            return(start, sub(at, start))
        }
    }

    /// @dev Write one account at `at`; returns where it ends.
    function _one(uint256 account, uint256 at) internal view returns (uint256) {
        Account storage a = accounts[account];
        uint256 head;
        assembly {
            head := sload(a.slot)
        }
        at = _write(at, head);
        uint256 count = uint8(head >> LEGS_BIT);
        if (count != 0) {
            uint256[MAX_LEGS] storage from = legs[account];
            assembly {
                let end := add(from.slot, count)
                for { let slot := from.slot } lt(slot, end) { slot := add(slot, 1) } {
                    mstore(at, sload(slot))
                    at := add(at, 32)
                }
            }
        }
        uint256 held = uint8(head >> ASSETS_BIT);
        if (held == 0) return at;
        mapping(uint256 => uint256) storage amounts = collateral[account];
        for (uint256 asset; held != 0; (++asset, held >>= 1)) {
            if (held & 1 != 0) at = _write(at, amounts[asset]);
        }
        return at;
    }

    function _write(uint256 at, uint256 word) internal pure returns (uint256) {
        assembly {
            mstore(at, word)
        }
        return at + 32;
    }
}
