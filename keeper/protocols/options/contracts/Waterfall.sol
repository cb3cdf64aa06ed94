// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";
import {Health, Portfolio, Price} from "./interfaces/Types.sol";
import {Clearing} from "./Clearing.sol";
import {Fixed} from "./lib/Fixed.sol";
import {Leg} from "./lib/Leg.sol";
import {Liquidator} from "./Liquidator.sol";
import {Params} from "./Params.sol";
import {Risk} from "./Risk.sol";

/// @title Waterfall
/// @notice What happens to an account in auction that nobody buys. In this order:
///
///     E >= 0, rho = rho1     closeOut: the slice fmax is closed against its counterparties at mark; they share the
///                            discount that a bidder would have had
///     E < 0, fund at a cap   deleverage: the insurance pays what it may, then short legs are closed at the recovery
///                            rate r, long legs at mark, against the counterparties who depend most on them
///     E < 0, adlDelay later  socialise: fund, gamma reserve, and then the cash of everybody
///
/// The recovery rate is that of an ordinary insolvency, r = (A + payment) / D: what there is over what is owed, with
/// A = max(cash, 0) + collateral + longs and D = shorts + max(-cash, 0). Every claim is paid the same share of itself;
/// the clearing house's own claim, negative cash, is one of them.
contract Waterfall {
    using Leg for uint256;

    /* ------------------------------------------------------------------------------------------------------
                                                      TYPES
    ------------------------------------------------------------------------------------------------------ */

    /// @notice The insolvency of an account: what has flowed since it began keeps r the same from step to step.
    struct Queue {
        uint40 flaggedAt; //   of the auction it belongs to
        int128 cash; //        usd, before the first payment
    }

    /// @notice One closing of a close-out: what is still to be closed of `series`, against `counterparties[index]`.
    struct Step {
        uint256 series;
        uint256 index;
    }

    event QueueOpened(
        uint256 indexed account, uint256 assets, uint256 debts, uint256 fromFund, uint256 fromReserve, int256 cash
    );
    event Deleveraged(
        uint256 indexed account, uint256 indexed counterparty, uint256 series, int256 size, int256 paid, uint256 score,
        uint256 rate
    );
    event ClosedAgainst(uint256 indexed account, uint256 indexed counterparty, uint256 series, int256 size, uint256 score);
    event ClosedOut(uint256 indexed account, uint256 fraction, uint256 compensation);
    event Compensated(uint256 indexed account, uint256 indexed counterparty, uint256 amount);
    event Deficit(uint256 indexed account, uint256 amount, uint256 fromFund, uint256 fromReserve);

    error Solvent(uint256 account, int256 equity);
    error Insolvent(uint256 account, int256 equity);
    error NotYet(uint256 account, uint256 now_, uint256 from); // live seconds
    error NotSorted(uint256 index, uint256 score, uint256 last);
    error NotClosed(uint256 account, uint256 series, int256 rest);
    error SameOwner(uint256 account, uint256 counterparty);
    error UnderMargin(uint256 account, int256 equity, uint256 mm);
    error NothingToDo(uint256 account);

    /* ------------------------------------------------------------------------------------------------------
                                                     STORAGE
    ------------------------------------------------------------------------------------------------------ */

    uint256 private constant WAD = 1e18;

    Clearing public immutable clearing;
    Liquidator public immutable liquidator;
    Params public immutable params;
    Risk public immutable risk;

    mapping(uint256 account => Queue) public queues;

    constructor(Liquidator liquidator_) {
        (liquidator, clearing) = (liquidator_, liquidator_.clearing());
        (params, risk) = (clearing.params(), clearing.risk());
    }

    /* ------------------------------------------------------------------------------------------------------
                                                   DELEVERAGE
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Close one leg of an insolvent account against holders of the other side, those first whose equity
    /// depends most on it. Who would be left below his own requirement is passed over; the last takes what is left.
    /// @param candidates in falling order of score = claim / equity; each score is emitted. That nobody was left out
    /// can be checked from events only.
    /// @return closed contracts, wad
    function deleverage(uint256 account, uint256 series, uint256[] calldata candidates)
        external
        returns (uint256 closed)
    {
        uint256 rate = _rate(account);
        if (rate == WAD) return 0; // the insurance made it whole: it is for sale again
        int256 rest = clearing.sizeOf(account, series);
        uint256 last = type(uint256).max;
        for (uint256 i; i < candidates.length && rest != 0; ++i) {
            (int256 n, uint256 score) = _candidate(account, candidates[i], series, rest, rate);
            if (score > last) revert NotSorted(i, score, last);
            last = score;
            rest -= n;
            closed += Fixed.abs(n);
        }
        if (closed == 0) revert NothingToDo(account);
        _settle(account);
    }

    /// @dev Open the queue if need be, and return the recovery rate, wad, rounded down.
    function _rate(uint256 account) internal returns (uint256) {
        Liquidator.Standing memory s = liquidator.standing(account);
        if (s.health.equity >= 0) revert Solvent(account, s.health.equity);
        uint40 flaggedAt = uint40(liquidator.auctionOf(account).flaggedAt);
        Queue storage q = queues[account];
        if (q.flaggedAt != flaggedAt) {
            if (s.offer.refused == 0 && s.t < s.p.t1 + s.p.t2) revert NotYet(account, s.t, s.p.t1 + s.p.t2);
            (q.flaggedAt, q.cash) = (flaggedAt, int128(clearing.portfolio(account).cash));
            (uint256 a, uint256 d) = balance(account);
            uint256 short = d > a ? d - a : 0;
            uint256 fromFund = Math.min(short, s.left);
            uint256 fromReserve = Math.min(short - fromFund, clearing.reserve());
            _insure(account, fromFund, fromReserve);
            emit QueueOpened(account, a, d, fromFund, fromReserve, q.cash);
        }
        (uint256 assets, uint256 debts) = balance(account);
        if (debts == 0) revert NothingToDo(account);
        return assets >= debts ? WAD : assets * WAD / debts;
    }

    function _insure(uint256 account, uint256 fromFund, uint256 fromReserve) internal {
        if (fromFund != 0) liquidator.spend(account, fromFund);
        if (fromFund + fromReserve != 0) clearing.insure(account, fromFund, fromReserve);
    }

    /// @notice What an account in the queue has and what it owes, counted from when the queue was opened: payments
    /// made and received since then are part of what it has, so no step changes the ratio.
    /// @return a usd, rounded down @return d usd, rounded up
    function balance(uint256 account) public view returns (uint256 a, uint256 d) {
        Portfolio memory p = clearing.portfolio(account);
        int256 start = queues[account].cash;
        int256 has = (start > 0 ? start : int256(0)) + (p.cash - start);
        (int256 longs, int256 shorts) = _sides(p);
        has += longs + _worth(Portfolio(0, new uint256[](0), p.collateral));
        a = has > 0 ? uint256(has) : 0;
        d = uint256(-shorts) + (start < 0 ? uint256(-start) : 0);
    }

    /// @dev Value of the long and of the short legs, both rounded down.
    function _sides(Portfolio memory p) internal view returns (int256 longs, int256 shorts) {
        uint256[] memory none = new uint256[](p.collateral.length);
        (uint256[] memory up, uint256[] memory down) = (new uint256[](p.legs.length), new uint256[](p.legs.length));
        for (uint256 i; i < p.legs.length; ++i) {
            bool long = p.legs[i].size() > 0;
            (up[i], down[i]) = (p.legs[i].withSize(long ? p.legs[i].size() : int256(0)), p.legs[i]);
            if (long) down[i] = p.legs[i].withSize(0);
        }
        (longs, shorts) = (_worth(Portfolio(0, up, none)), _worth(Portfolio(0, down, none)));
    }

    /// @dev Equity at the bid price, rounded down. It is the same in every scenario.
    function _worth(Portfolio memory p) internal view returns (int256) {
        return risk.assess(p, params.current(), Price.Bid, 0).equity;
    }

    /// @dev One candidate: how much is closed against him, with the sign of the account's position; 0 when he is
    /// passed over.
    function _candidate(uint256 account, uint256 who, uint256 series, int256 rest, uint256 rate)
        internal
        returns (int256 n, uint256 score)
    {
        int256 held = clearing.sizeOf(who, series);
        Portfolio memory p = clearing.portfolio(who);
        int256 equity = _worth(p);
        if (equity <= 0 || held == 0 || (held > 0) == (rest > 0)) return (0, 0);
        score = _score(series, held, equity);
        n = Fixed.abs(held) < Fixed.abs(rest) ? -held : rest;
        int256 paid = _price(series, n, rate);
        _shrink(p, series, n, -paid);
        if (!_sound(p)) return (0, score);
        clearing.close(account, who, (series << 128).withSize(n), paid);
        emit Deleveraged(account, who, series, n, paid, score, rate);
    }

    /// @dev E >= Q in every scenario.
    function _sound(Portfolio memory p) internal view returns (bool) {
        Health memory h = risk.assess(p, params.current(), Price.Bid, risk.ALL());
        return h.equity >= int256(h.mm);
    }

    /// @notice Value of the whole position over the equity of its holder: who depends most on it. Wad.
    function _score(uint256 series, int256 held, int256 equity) internal view returns (uint256) {
        return Fixed.abs(_value(series, held)) * WAD / uint256(equity);
    }

    /// @dev What the counterparty pays for `n` contracts of the account: long ones at mark, short ones (negative) at
    /// the recovery rate; rounded against the counterparty who is paid, and up when he pays.
    function _price(uint256 series, int256 n, uint256 rate) internal view returns (int256) {
        int256 value = _value(series, n);
        return n > 0 ? value : -Fixed.mulDown(-value, int256(rate));
    }

    /// @dev Value of `n` contracts of a series, rounded down.
    function _value(uint256 series, int256 n) internal view returns (int256) {
        uint256[] memory one = new uint256[](1);
        one[0] = (series << 128).withSize(n);
        return _worth(Portfolio(0, one, new uint256[](0)));
    }

    /// @dev What a counterparty is after closing `n` contracts of the account's side, and `cash`. A size of zero counts
    /// for nothing.
    function _shrink(Portfolio memory p, uint256 series, int256 n, int256 cash) internal pure {
        p.cash += cash;
        for (uint256 i; i < p.legs.length; ++i) {
            if (p.legs[i].series() == series) p.legs[i] = p.legs[i].withSize(p.legs[i].size() + n);
        }
    }

    /// @dev After something was closed: the auction ends with the last leg, unless collateral is left to sell.
    function _settle(uint256 account) internal {
        Portfolio memory p = clearing.portfolio(account);
        uint256 held = p.legs.length;
        for (uint256 i; i < p.collateral.length; ++i) held |= p.collateral[i];
        if (held == 0) liquidator.finish(account);
        else liquidator.note(account);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    CLOSE-OUT
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Close the slice that nobody bought, of every leg, at mark, against the other side. The discount that a
    /// bidder would have had, f rho1 Q, goes to the counterparties in proportion to what they require afterwards.
    /// Whoever is chosen gains no more than that, which is what a bidder at rho1 has, his fee included.
    /// @param counterparties rising; each must have its requirement afterwards
    /// @param steps whom each leg is closed against until f of it is closed: series rising, and within each those first
    /// whose equity depends most on it, as in `deleverage`; each score is emitted
    function closeOut(uint256 account, uint256[] calldata counterparties, Step[] calldata steps)
        external
        returns (uint256 f)
    {
        Liquidator.Standing memory s = liquidator.standing(account);
        if (s.health.equity < 0) revert Insolvent(account, s.health.equity);
        if (s.t < s.p.t1) revert NotYet(account, s.t, s.p.t1);
        uint256[] memory was = clearing.portfolio(account).legs;
        if (was.length == 0) revert NothingToDo(account);
        f = liquidator.fmax(s.health.equity, s.health.mm, s.health.convex, s.p.rho1, s.p);
        uint256 discount = Fixed.mulUp(Math.min(s.health.mm * s.p.rho1 / WAD, uint256(s.health.equity)), f);
        _inOrder(account, was, f, counterparties, steps);
        _closed(account, was, f);
        discount = _compensate(account, counterparties, discount);
        emit ClosedOut(account, f, discount);
        if (clearing.portfolio(account).legs.length == 0) _settle(account);
        else liquidator.finish(account);
    }

    /// @dev Close the share `f` of every leg: series rising, scores falling within each.
    function _inOrder(
        uint256 account, uint256[] memory was, uint256 f, uint256[] calldata counterparties, Step[] calldata steps
    ) internal {
        uint256 last;
        for (uint256 i; i < steps.length; ++i) {
            uint256 series = steps[i].series;
            if (i == 0 || series != steps[i - 1].series) {
                if (i != 0 && series < steps[i - 1].series) revert NotSorted(i, series, steps[i - 1].series);
                last = type(uint256).max;
            }
            uint256 who = counterparties[steps[i].index];
            uint256 score = _close(account, who, series, was, f);
            if (score > last) revert NotSorted(i, score, last);
            last = score;
        }
    }

    /// @dev How much of a series is still to be closed, with the sign of the account's position: the share `f` of what
    /// it was, rounded away from zero where short.
    function _left(uint256 account, uint256[] memory was, uint256 series, uint256 f) internal view returns (int256) {
        for (uint256 i; i < was.length; ++i) {
            if (was[i].series() != series) continue;
            return Fixed.mulDown(was[i].size(), int256(f)) - (was[i].size() - clearing.sizeOf(account, series));
        }
        return 0;
    }

    /// @return score as in `deleverage`, of the position before; 0 when nothing is closed
    function _close(uint256 account, uint256 who, uint256 series, uint256[] memory was, uint256 f)
        internal
        returns (uint256 score)
    {
        if (uint160(who) == uint160(account)) revert SameOwner(account, who);
        int256 n = _left(account, was, series, f);
        int256 held = clearing.sizeOf(who, series);
        if (n == 0 || held == 0 || (held > 0) == (n > 0)) return 0;
        int256 equity = _worth(clearing.portfolio(who));
        if (equity <= 0) revert UnderMargin(who, equity, 0);
        score = _score(series, held, equity);
        if (Fixed.abs(held) < Fixed.abs(n)) n = -held;
        clearing.close(account, who, (series << 128).withSize(n), _value(series, n));
        emit ClosedAgainst(account, who, series, n, score);
    }

    function _closed(uint256 account, uint256[] memory was, uint256 f) internal view {
        for (uint256 i; i < was.length; ++i) {
            int256 rest = _left(account, was, was[i].series(), f);
            if (rest != 0) revert NotClosed(account, was[i].series(), rest);
        }
    }

    function _compensate(uint256 account, uint256[] calldata to, uint256 amount) internal returns (uint256 paid) {
        Health[] memory h = new Health[](to.length);
        uint256 sum;
        for (uint256 i; i < to.length; ++i) {
            if (i != 0 && to[i] <= to[i - 1]) revert NotSorted(i, to[i], to[i - 1]);
            h[i] = risk.assess(clearing.portfolio(to[i]), params.current(), Price.Bid, risk.ALL());
            sum += h[i].mm;
        }
        for (uint256 i; i < to.length; ++i) {
            uint256 share = sum == 0 ? amount / to.length : Math.fullMulDiv(amount, h[i].mm, sum);
            if (h[i].equity + int256(share) < int256(h[i].mm)) revert UnderMargin(to[i], h[i].equity, h[i].mm);
            if (share == 0) continue;
            clearing.pay(account, to[i], share, false);
            emit Compensated(account, to[i], share);
            paid += share;
        }
    }

    /* ------------------------------------------------------------------------------------------------------
                                                   SHARED LOSS
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Make up negative equity: fund, gamma reserve, then the cash of all others. At once for an account that
    /// holds nothing but a debt; for one in auction when the fund is at its caps, adlDelay after the clock passed t1.
    function socialise(uint256 account) external {
        Portfolio memory p = clearing.portfolio(account);
        uint256 held = p.legs.length;
        for (uint256 i; i < p.collateral.length; ++i) held |= p.collateral[i];
        int256 equity = p.cash;
        if (held != 0) {
            Liquidator.Standing memory s = liquidator.standing(account);
            equity = s.health.equity;
            bool end = s.offer.refused != 0 && s.t >= s.p.t1 + s.p.adlDelay;
            if (equity < 0 && !end) revert NotYet(account, s.t, s.p.t1 + s.p.adlDelay);
        }
        if (equity >= 0) revert Solvent(account, equity);
        _cover(account, uint256(-equity));
        uint40 flaggedAt = uint40(liquidator.auctionOf(account).flaggedAt);
        if (flaggedAt != 0) _settle(account);
    }

    function _cover(uint256 account, uint256 deficit) internal {
        uint256 fromFund = Math.min(deficit, clearing.fund());
        uint256 fromReserve = Math.min(deficit - fromFund, clearing.reserve());
        clearing.insure(account, fromFund, fromReserve);
        emit Deficit(account, deficit, fromFund, fromReserve);
        uint256 rest = deficit - fromFund - fromReserve;
        if (rest != 0) clearing.socialise(account, rest);
    }
}
