// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";
import {Health, Portfolio, Price, RiskParams} from "./interfaces/Types.sol";
import {Black76} from "./lib/Black76.sol";
import {Blob} from "./lib/Blob.sol";
import {Collateral} from "./lib/Collateral.sol";
import {Fixed} from "./lib/Fixed.sol";
import {Leg} from "./lib/Leg.sol";
import {Scenario} from "./lib/Scenario.sol";
import {Oracle} from "./Oracle.sol";
import {Params} from "./Params.sol";

/// @title Risk
/// @notice What a portfolio is worth and what it must hold. No state of its own: give it any portfolio.
///
///     E   = cash + value of collateral + sum n V                                        rounded down
///     L   = sum over underlyings of max(0, max over scenarios of -weight pnl)           rounded up
///     pnl: full revaluation, folded over expiries from the earliest, c <- min(c, 0) + g, collateral last;
///          what an early expiry gains never covers what a later one loses
///     scenarios: price moves times clamp(sigma / usual, 1, stressCap); Q takes the slow form of that factor, Q_im
///          the one of now, see `Oracle.stress` and `Price.Initial`
///     X   = floorGross p sum of shorts + floorNaked p naked + lambda (delta p)^2 / depth + low confidence
///     Q   = factor L + X + haircuts                 once with the maintenance, once with the initial parameters
///
/// An account is healthy while E >= Q. Any single scenario in which E < Q proves the contrary, so a caller may
/// name one scenario per underlying and pay for no other.
contract Risk {
    using Leg for uint256;

    /* ------------------------------------------------------------------------------------------------------
                                                      TYPES
    ------------------------------------------------------------------------------------------------------ */

    /// @dev One underlying while it is being valued.
    struct Book {
        uint256 u;
        uint256 price; //         wad
        uint256 confidence; //    bps of the feed
        uint256[] scenarios; //   the words to evaluate
        int256[] moves; //        wad, of the price, stretched
        int256[] lns; //          ln(1 + move)
        int256[] carried; //      c: folded pnl of closed expiries, per scenario
        int256[] group; //        g: undiscounted pnl of the expiry being read, per scenario
        int256 value; //          undiscounted value of that expiry
        int256 calls; //          folded net calls; `putsNow` and `callsNow` are those of the expiry being read
        int256 puts;
        int256 callsNow;
        int256 putsNow;
        int256 delta; //          in units of the underlying
        uint256 shorts; //        contracts
        uint256 doubt; //         contracts x (1 - confidence)
        int256 worth; //          discounted value of all legs, rounded down
    }

    /// @dev One expiry of one underlying.
    struct Term {
        uint256 expiry;
        uint256 forward; //       wad
        uint256 discount; //      wad
        uint256 open; //          wad, weight of the price still to come in the settlement price
        uint256 moving; //        wad, share of the forward that moves with the price
        uint256 rootT; //         wad, sqrt(years); 0 after expiry
        uint256 atm; //           wad
        int256 skew; //           wad
        int256 curv; //           wad
        uint256 confidence; //    bps, the lower of feed and smile
        Shock[] shocks; //        per scenario
    }

    /// @dev One scenario, as it applies to one expiry. All wad.
    struct Shock {
        uint256 forward; //       shocked
        int256 ln; //             ln(shocked / forward)
        int256 factor; //         of sigma
        int256 addend; //         to w
    }

    error UnknownUnderlying(uint256 u);

    uint256 private constant WAD = 1e18;
    int256 private constant SWAD = 1e18;
    uint256 private constant YEAR = 31_536_000;
    uint256 private constant SIGMA_MIN = 0.05e18;
    uint256 private constant SIGMA_MAX = 5e18;
    int256 private constant DEEPEST = -0.99e18; // a stretched fall stops here

    uint256 public constant ALL = type(uint256).max; // evaluate every scenario

    Oracle public immutable oracle;
    Params public immutable params;

    constructor(Oracle oracle_, Params params_) {
        oracle = oracle_;
        params = params_;
    }

    /* ------------------------------------------------------------------------------------------------------
                                                     HEALTH
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Value a portfolio under one parameter set.
    /// @param named ALL, or one scenario index per underlying, a byte each, the first underlying lowest
    function assess(Portfolio calldata pf, uint256 version, Price mode, uint256 named)
        external
        view
        returns (Health memory h)
    {
        (address pointer,) = params.pointers(version);
        RiskParams memory p = Blob.risk(pointer);
        uint256[] memory legs = pf.legs;
        Leg.sort(legs);
        h.equity = pf.cash;
        uint256 i;
        for (uint256 u; u < p.depths.length; ++u) {
            int256 units = _collateral(pf, p, u);
            uint256 end = i;
            while (end < legs.length && legs[end].underlying() == u) ++end;
            if (end == i && units == 0) continue;
            Book memory b = _open(p, u, mode, named, h);
            if (end != i) _revalue(b, p, legs, i, end);
            _close(b, p, pf, units, named, h);
            i = end;
        }
        if (i != legs.length) revert UnknownUnderlying(legs[i].underlying());
    }

    /// @dev Units of collateral whose price is that of underlying `u`.
    function _collateral(Portfolio calldata pf, RiskParams memory p, uint256 u) internal pure returns (int256 units) {
        for (uint256 a = 1; a < pf.collateral.length; ++a) {
            if (Collateral.underlying(p.assets[a]) == u) units += int256(pf.collateral[a]);
        }
    }

    /// @dev Start on one underlying: its price and the scenarios to evaluate.
    function _open(RiskParams memory p, uint256 u, Price mode, uint256 named, Health memory h)
        internal
        view
        returns (Book memory b)
    {
        (uint256 spot, uint256 slow, uint256 fast, uint256 confidence, bool stale) = oracle.prices(u);
        b.price = price(spot, slow, fast, mode, p);
        (b.u, b.confidence) = (u, confidence);
        if (b.price != spot) h.clamped = true;
        if (stale) h.stale = true;
        h.underlyings |= 1 << u;
        if (named == ALL) {
            b.scenarios = p.scenarios;
        } else {
            b.scenarios = new uint256[](1);
            b.scenarios[0] = p.scenarios[(named >> (8 * u)) & 0xff];
        }
        _stretch(b, p, mode);
        b.carried = new int256[](b.scenarios.length);
        b.group = new int256[](b.scenarios.length);
    }

    /// @dev The price moves of the scenarios, times what volatility makes of them.
    function _stretch(Book memory b, RiskParams memory p, Price mode) internal view {
        uint256 n = b.scenarios.length;
        (b.moves, b.lns) = (new int256[](n), new int256[](n));
        uint256 factor = WAD;
        if (p.stressCap > WAD) {
            (, uint256 atOnce, uint256 eased) = oracle.stress(b.u);
            factor = Math.min(mode == Price.Initial ? atOnce : eased, p.stressCap);
        }
        for (uint256 s; s < n; ++s) {
            uint256 word = b.scenarios[s];
            if (factor == WAD) {
                (b.moves[s], b.lns[s]) = (Scenario.spot(word), Scenario.lnSpot(word));
            } else {
                int256 move = Scenario.spot(word) * int256(factor) / SWAD;
                if (move < DEEPEST) move = DEEPEST;
                (b.moves[s], b.lns[s]) = (move, Math.lnWad(SWAD + move));
            }
        }
    }

    /// @notice The price a portfolio is valued at: spot, limited to a band around a mark.
    function price(uint256 spot, uint256 slow, uint256 fast, Price mode, RiskParams memory p)
        public
        pure
        returns (uint256)
    {
        if (mode == Price.Spot) return spot;
        (uint256 mark, uint256 band) = mode == Price.Trigger ? (slow, p.triggerBand) : (fast, p.bidBand);
        return Fixed.clamp(spot, mark * (WAD - band) / WAD, mark * (WAD + band) / WAD);
    }

    /// @dev Add one underlying to the account's health.
    function _close(
        Book memory b, RiskParams memory p, Portfolio calldata pf, int256 units, uint256 named, Health memory h
    ) internal pure {
        int256 value = Fixed.mulDown(units, int256(b.price));
        h.equity += b.worth + value;
        (uint256 loss, uint256 worst) = _loss(b, value, named);
        h.loss += loss;
        h.worst |= worst << (8 * b.u);
        h.mm += Fixed.mulUp(p.mmFactor, loss);
        h.im += Fixed.mulUp(p.imFactor, loss);
        _addOns(b, p, units, h);
        _haircuts(b, p, pf, h);
    }

    /// @dev The worst weighted loss; collateral worth `value` comes after all expiries.
    function _loss(Book memory b, int256 value, uint256 named) internal pure returns (uint256 loss, uint256 worst) {
        if (named != ALL) worst = (named >> (8 * b.u)) & 0xff;
        for (uint256 s; s < b.scenarios.length; ++s) {
            uint256 word = b.scenarios[s];
            int256 pnl = b.carried[s];
            if (value != 0) pnl = (pnl < 0 ? pnl : int256(0)) + Fixed.mulDown(value, b.moves[s]);
            if (pnl >= 0) continue;
            uint256 l = Fixed.mulUp(uint256(-pnl), Scenario.weight(word));
            if (l <= loss) continue;
            loss = l;
            if (named == ALL) worst = s;
        }
    }

    /// @dev Size, naked shorts, low confidence, gross shorts.
    function _addOns(Book memory b, RiskParams memory p, int256 units, Health memory h) internal pure {
        uint256 exposure = Fixed.mulUp(Fixed.abs(b.delta + units), b.price);
        uint256 convex = Fixed.mulUp(p.lambda, Math.fullMulDivUp(exposure, exposure, p.depths[b.u]));
        h.convex += convex;
        uint256 sum = convex;
        uint256 naked = (b.calls < 0 ? uint256(-b.calls) : 0) + (b.puts < 0 ? uint256(-b.puts) : 0);
        sum += Fixed.mulUp(Fixed.mulUp(naked, b.price), p.floorNaked);
        sum += Fixed.mulUp(Fixed.mulUp(b.doubt, b.price), p.confidence);
        uint256 shorts = Fixed.mulUp(b.shorts, b.price);
        h.mm += sum + Fixed.mulUp(shorts, p.floorGrossMm);
        h.im += sum + Fixed.mulUp(shorts, p.floorGrossIm);
    }

    function _haircuts(Book memory b, RiskParams memory p, Portfolio calldata pf, Health memory h) internal pure {
        for (uint256 a = 1; a < pf.collateral.length; ++a) {
            if (pf.collateral[a] == 0 || Collateral.underlying(p.assets[a]) != b.u) continue;
            uint256 worth = Fixed.mulUp(pf.collateral[a], b.price);
            h.mm += Fixed.mulUp(worth, Collateral.haircutMm(p.assets[a]));
            h.im += Fixed.mulUp(worth, Collateral.haircutIm(p.assets[a]));
        }
    }

    /* ------------------------------------------------------------------------------------------------------
                                                   REVALUATION
    ------------------------------------------------------------------------------------------------------ */

    /// @dev Value legs [i, end), all of one underlying and sorted by expiry, in every scenario of the book.
    function _revalue(Book memory b, RiskParams memory p, uint256[] memory legs, uint256 i, uint256 end)
        internal
        view
    {
        Term memory t;
        for (; i < end; ++i) {
            uint256 leg = legs[i];
            if (leg.expiry() != t.expiry) {
                if (t.expiry != 0) _fold(b, t);
                t = _term(b, p, leg.expiry());
            }
            _leg(b, t, leg);
        }
        _fold(b, t);
    }

    /// @dev Close an expiry: c <- min(c, 0) + g.
    function _fold(Book memory b, Term memory t) internal pure {
        int256 discount = int256(t.discount);
        b.worth += Fixed.mulDown(b.value, discount);
        b.value = 0;
        for (uint256 s; s < b.group.length; ++s) {
            int256 c = b.carried[s];
            b.carried[s] = (c < 0 ? c : int256(0)) + Fixed.mulDown(b.group[s], discount);
            b.group[s] = 0;
        }
        b.calls = (b.calls < 0 ? b.calls : int256(0)) + b.callsNow;
        b.puts = (b.puts < 0 ? b.puts : int256(0)) + b.putsNow;
        b.callsNow = b.putsNow = 0;
    }

    /// @dev What all legs of one expiry share.
    function _term(Book memory b, RiskParams memory p, uint256 expiry) internal view returns (Term memory t) {
        t.expiry = expiry;
        int256 rate;
        (t.atm, t.skew, t.curv, rate, t.confidence) = oracle.smile(b.u, expiry);
        if (b.confidence < t.confidence) t.confidence = b.confidence;
        uint256 left = expiry > block.timestamp ? expiry - block.timestamp : 0;
        t.rootT = Math.sqrt(left * 1e36 / YEAR);
        t.discount = uint256(Math.expWad(-rate * int256(left) / int256(YEAR)));
        uint256 fixed_;
        (fixed_, t.open) = oracle.observed(b.u, expiry);
        uint256 rest = b.price * t.open / WAD;
        t.forward = (fixed_ + rest) * WAD / t.discount;
        t.moving = fixed_ == 0 ? WAD : rest * WAD / (fixed_ + rest);
        _shock(b, p, t, left);
    }

    /// @dev The scenarios, as they apply to one expiry. Unchecked: moves are above -1, vols are int16 bps.
    function _shock(Book memory b, RiskParams memory p, Term memory t, uint256 left) internal pure {
        uint256 n = b.scenarios.length;
        t.shocks = new Shock[](n);
        int256 slope = volSlope(p, left);
        unchecked {
            for (uint256 s; s < n; ++s) {
                uint256 word = b.scenarios[s];
                Shock memory x = t.shocks[s];
                int256 move = b.moves[s] * int256(t.moving) / SWAD;
                x.forward = uint256(int256(t.forward) * (SWAD + move) / SWAD);
                x.ln = t.moving == WAD ? b.lns[s] : Math.lnWad(SWAD + move);
                uint256 kind = Scenario.kind(word);
                int256 vol = Scenario.vol(word);
                x.factor = SWAD;
                if (kind == Scenario.ABSOLUTE) x.addend = vol * int256(t.rootT) / SWAD;
                else if (kind == Scenario.RELATIVE) x.factor += vol;
                else if (kind == Scenario.TERM) x.factor += vol * slope / SWAD;
                if (x.factor < 0) x.factor = 0;
            }
        }
    }

    /// @notice (30 days / t)^power: short expiries move more.
    /// @return wad
    function volSlope(RiskParams memory p, uint256 left) public pure returns (int256) {
        uint256 t = left < p.volDaysFloor ? p.volDaysFloor : left;
        uint256 power = t <= 30 days ? p.volPowerShort : p.volPowerLong;
        return Math.expWad(Math.lnWad(int256(30 days * WAD / t)) * int256(power) / SWAD);
    }

    /// @dev One leg: its value now, and what it gains in each scenario. Unchecked: a size is below 2^127, a price and
    /// a strike below 2^98, ratios below 2^64, and at most 32 legs are summed.
    function _leg(Book memory b, Term memory t, uint256 leg) internal pure {
        unchecked {
            int256 n = leg.size();
            bool call = leg.isCall();
            uint256 k = leg.strike();
            int256 ln = Math.lnWad(int256(Math.max(1, t.forward * WAD / k)));
            uint256 w = _sigma(t, ln) * t.rootT / WAD;
            (uint256 v, uint256 n1) = Black76.value(call, t.forward, k, ln, w);
            int256[] memory group = b.group;
            Shock[] memory shocks = t.shocks;
            for (uint256 s; s < group.length; ++s) {
                Shock memory x = shocks[s];
                int256 ws = int256(w) * x.factor / SWAD + x.addend;
                (uint256 vs,) = Black76.value(call, x.forward, k, ln + x.ln, ws < 0 ? 0 : uint256(ws));
                group[s] += Fixed.rawMulDown(n, int256(vs) - int256(v));
            }
            b.value += Fixed.rawMulDown(n, int256(v));
            b.delta += n * (call ? int256(n1) : int256(n1) - SWAD) / SWAD * int256(t.open) / SWAD;
            if (n < 0) b.shorts += uint256(-n);
            if (t.confidence != 1e4) b.doubt += Fixed.abs(n) * (1e4 - t.confidence) / 1e4;
            if (call) b.callsNow += n;
            else b.putsNow += n;
        }
    }

    /// @dev sigma(K) = atm + skew x + curv x^2 within [SIGMA_MIN, SIGMA_MAX], x = ln(K / F) / sqrt(t).
    function _sigma(Term memory t, int256 ln) internal pure returns (uint256) {
        if (t.rootT == 0) return 0;
        unchecked {
            int256 x = -ln * SWAD / int256(t.rootT);
            int256 sigma = int256(t.atm) + t.skew * x / SWAD + t.curv * (x * x / SWAD) / SWAD;
            return sigma < int256(SIGMA_MIN) ? SIGMA_MIN : sigma > int256(SIGMA_MAX) ? SIGMA_MAX : uint256(sigma);
        }
    }
}
