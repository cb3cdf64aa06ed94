// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {AuctionParams, Health, Portfolio, Price} from "./interfaces/Types.sol";
import {Clearing} from "./Clearing.sol";
import {Fixed} from "./lib/Fixed.sol";
import {Leg} from "./lib/Leg.sol";
import {Liquidator} from "./Liquidator.sol";
import {Params} from "./Params.sol";
import {Risk} from "./Risk.sol";

/// @title Quotes
/// @notice Insurance instead of a sale: a provider sells options to an account in auction, when they alone restore its
/// health and cost its owner less than the auction would now.
///
/// The account receives long legs only, so its risk is defined by what it pays. The premium may exceed their value at
/// the bid price by no more than what the owner would lose by the largest bid at this moment, fmax rho Q: early in an
/// auction a provider must be cheap, later the two ways compete. The provider needs his initial margin, as in a trade.
contract Quotes {
    using Leg for uint256;

    event Covered(
        uint256 indexed account, uint256 indexed provider, uint256[] package, uint256 premium, int256 value,
        int256 equity, uint256 mm
    );

    error Unauthorised();
    error SelfBid(uint256 account, uint256 bidder);
    error ChangedMeanwhile(uint256 expected, uint256 actual);
    error NotLong(uint256 leg);
    error TooDear(int256 excess, uint256 most);
    error NotRestored(uint256 account, int256 equity, uint256 needed);

    uint256 private constant WAD = 1e18;

    Clearing public immutable clearing;
    Liquidator public immutable liquidator;
    Params public immutable params;
    Risk public immutable risk;

    constructor(Liquidator liquidator_) {
        (liquidator, clearing) = (liquidator_, liquidator_.clearing());
        (params, risk) = (clearing.params(), clearing.risk());
    }

    /// @notice Sell `package`, one word per leg, all long, to an account in auction for `premium`.
    /// @param premium usd, the account pays it to the provider
    /// @param expected changeId of the account; what is insured is what was looked at
    function cover(uint256 account, uint256 provider, uint256[] calldata package, uint256 premium, uint256 expected)
        external
    {
        if (!clearing.mayAct(provider, msg.sender)) revert Unauthorised();
        if (uint160(account) == uint160(provider)) revert SelfBid(account, provider);
        uint256 actual = clearing.accountOf(account).changeId;
        if (actual != expected) revert ChangedMeanwhile(expected, actual);
        for (uint256 i; i < package.length; ++i) {
            if (package[i].size() <= 0) revert NotLong(package[i]);
        }
        int256 value = risk.assess(Portfolio(0, package, new uint256[](0)), params.current(), Price.Bid, 0).equity;
        _worthIt(account, int256(premium) - value);
        clearing.cover(account, provider, package, premium);
        Health memory h = _restored(account);
        liquidator.covered(account);
        emit Covered(account, provider, package, premium, value, h.equity, h.mm);
    }

    /// @dev What is paid beyond the value is no more than the owner would lose by the largest bid.
    function _worthIt(uint256 account, int256 excess) internal view {
        Liquidator.Standing memory s = liquidator.standing(account);
        uint256 most = s.health.mm * s.offer.rhoPaid / WAD * s.offer.fmax / WAD;
        if (excess > int256(most)) revert TooDear(excess, most);
    }

    /// @dev As healthy as a cure asks for, in every scenario.
    function _restored(uint256 account) internal view returns (Health memory h) {
        h = risk.assess(clearing.portfolio(account), params.current(), Price.Bid, risk.ALL());
        AuctionParams memory p = params.auction(params.current());
        uint256 needed = Fixed.mulUp(h.mm, WAD + p.buffer / 5);
        if (h.equity < int256(needed)) revert NotRestored(account, h.equity, needed);
    }
}
