// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {SSTORE2} from "solady/src/utils/SSTORE2.sol";
import {AuctionParams, ParamSet, RiskParams} from "../interfaces/Types.sol";

/// @title Blob
/// @notice Parameter sets as code. They are read into memory as they lie: the encodings below equal the memory
/// layout of the structs but for the three array offsets, so nothing is decoded word by word.
library Blob {
    /// @dev RiskParams has 13 words, then three uint256[]; abi.encode puts one offset word in front of a dynamic
    /// struct, and array offsets count from behind it.
    uint256 private constant SCALARS = 13;

    /// @dev AuctionParams has 29 words and comes first.
    uint256 private constant AUCTION = 29 * 32;

    function write(ParamSet memory set) internal returns (address) {
        bytes memory auction_ = abi.encode(set.auction);
        assert(auction_.length == AUCTION);
        return SSTORE2.write(bytes.concat(auction_, abi.encode(set.risk)));
    }

    function risk(address pointer) internal view returns (RiskParams memory p) {
        bytes memory data = SSTORE2.read(pointer, AUCTION);
        uint256 scalars = SCALARS;
        assembly ("memory-safe") {
            p := add(data, 0x40)
            for { let i := 0 } lt(i, 3) { i := add(i, 1) } {
                let slot := add(p, shl(5, add(scalars, i)))
                mstore(slot, add(p, mload(slot)))
            }
        }
    }

    function auction(address pointer) internal view returns (AuctionParams memory p) {
        bytes memory data = SSTORE2.read(pointer, 0, AUCTION);
        assembly ("memory-safe") {
            p := add(data, 0x20)
        }
    }
}
