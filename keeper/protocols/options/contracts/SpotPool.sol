// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {SafeTransferLib} from "solady/src/utils/SafeTransferLib.sol";

/// @title SpotPool
/// @notice Constant-product pool of one base and one quote token, with one liquidity provider: the place where a
/// hedge has slippage and moves the price. The fee stays in the pool.
contract SpotPool {
    event Sync(uint256 base, uint256 quote); //  reserves, native units
    event Swap(address indexed by, bool sell, uint256 amountIn, uint256 amountOut);

    error Unauthorised();
    error TooLittle(uint256 out, uint256 least);
    error Empty(uint256 base, uint256 quote);

    uint256 public constant FEE = 30; //         bps of what comes in

    address public immutable base;
    address public immutable quote;
    address public immutable provider;
    uint128 public reserveBase; //               native units
    uint128 public reserveQuote;

    constructor(address base_, address quote_) {
        (base, quote, provider) = (base_, quote_, msg.sender);
    }

    function add(uint256 baseAmount, uint256 quoteAmount) external {
        if (msg.sender != provider) revert Unauthorised();
        SafeTransferLib.safeTransferFrom(base, msg.sender, address(this), baseAmount);
        SafeTransferLib.safeTransferFrom(quote, msg.sender, address(this), quoteAmount);
        _sync(reserveBase + baseAmount, reserveQuote + quoteAmount);
    }

    function remove(uint256 baseAmount, uint256 quoteAmount) external {
        if (msg.sender != provider) revert Unauthorised();
        _sync(reserveBase - baseAmount, reserveQuote - quoteAmount);
        SafeTransferLib.safeTransfer(base, msg.sender, baseAmount);
        SafeTransferLib.safeTransfer(quote, msg.sender, quoteAmount);
    }

    /// @notice Sell exactly `amountIn`: base for quote when `sell`, quote for base otherwise.
    function swap(bool sell, uint256 amountIn, uint256 least, address to) external returns (uint256 out) {
        out = amountOut(sell, amountIn);
        if (out < least) revert TooLittle(out, least);
        (address tokenIn, address tokenOut) = sell ? (base, quote) : (quote, base);
        if (sell) _sync(reserveBase + amountIn, reserveQuote - out);
        else _sync(reserveBase - out, reserveQuote + amountIn);
        emit Swap(msg.sender, sell, amountIn, out);
        SafeTransferLib.safeTransferFrom(tokenIn, msg.sender, address(this), amountIn);
        SafeTransferLib.safeTransfer(tokenOut, to, out);
    }

    /// @notice y ga z / (x + ga z), rounded down; ga = 1 - fee.
    function amountOut(bool sell, uint256 amountIn) public view returns (uint256) {
        (uint256 x, uint256 y) = sell ? (reserveBase, reserveQuote) : (reserveQuote, reserveBase);
        if (x == 0 || y == 0) revert Empty(reserveBase, reserveQuote);
        uint256 z = amountIn * (10_000 - FEE);
        return y * z / (x * 10_000 + z);
    }

    function _sync(uint256 base_, uint256 quote_) internal {
        require(base_ <= type(uint128).max && quote_ <= type(uint128).max, "reserve");
        (reserveBase, reserveQuote) = (uint128(base_), uint128(quote_));
        emit Sync(base_, quote_);
    }
}
