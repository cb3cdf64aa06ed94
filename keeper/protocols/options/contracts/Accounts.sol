// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

/// @title Accounts
/// @notice Where accounts lie in storage. `Clearing` keeps them, `Reader` takes them out word by word; both have their
/// slots from here, so that neither can know them otherwise than the compiler does.
abstract contract Accounts {
    struct Account {
        int128 cash; //       usd, at `index`
        uint64 index; //      wad, loss index at the last change
        uint40 changeId; //   number of changes
        uint8 legs; //        number of legs
        uint8 assets; //      bit a set: holds asset a
    }

    struct Asset {
        address token;
        uint96 unit; //       10^decimals
    }

    uint256 public constant MAX_LEGS = 32;
    uint256 internal constant LEGS_BIT = 232; //      of the word of an `Account`
    uint256 internal constant ASSETS_BIT = 240;

    address public liquidator; //                     knows whose auction runs; set once
    uint64 public lossIndex = 1e18; //                wad, 1 as long as no loss was shared
    uint8 public assetCount; //                       ends the one word beside an account's own that reading it takes
    mapping(uint256 asset => Asset) public assetAt; //0 is cash
    mapping(uint256 account => Account) internal accounts;
    mapping(uint256 account => uint256[MAX_LEGS]) internal legs;
    mapping(uint256 account => mapping(uint256 asset => uint256)) internal collateral; // native units
}
