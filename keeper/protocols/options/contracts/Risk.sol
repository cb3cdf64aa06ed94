// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";
import {Components, Health, Portfolio, Price, RiskParams} from "./interfaces/Types.sol";
import {Black76} from "./lib/Black76.sol";
import {Blob} from "./lib/Blob.sol";
import {Collateral} from "./lib/Collateral.sol";
import {Fixed} from "./lib/Fixed.sol";
import {Leg} from "./lib/Leg.sol";
import {Normal} from "./lib/Normal.sol";
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
///     X   = floorGross p sum of shorts + floorNaked p naked + lambda (delta p)^2 / depth + low confidence;
///          delta: the largest that is left after any number of the earliest expiries, so none hides a later one
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
        uint256 normal; //        where the table of `Normal` is
        uint256 price; //         wad
        uint256 confidence; //    bps of the feed
        Shock[] shocks; //        the scenarios to evaluate
        int256 value; //          undiscounted value of the expiry being read
        int256 calls; //          folded net calls; `putsNow` and `callsNow` are those of the expiry being read
        int256 puts;
        int256 callsNow;
        int256 putsNow;
        int256 delta; //          in units of the underlying, of all expiries read so far
        int256 least; //          the least and the greatest it has been between two expiries, 0 included
        int256 most;
        uint256 shorts; //        contracts
        uint256 doubt; //         contracts x (1 - confidence)
        int256 worth; //          discounted value of all legs, rounded down
    }

    /// @dev One scenario: what it says, how it applies to the expiry being read, and what has been gained in it.
    struct Shock {
        int256 move; //           wad, of the price, stretched
        int256 lnMove; //         ln(1 + move)
        uint256 kind;
        int256 vol; //            wad
        uint256 weight; //        wad
        uint256 forward; //       wad, shocked
        int256 ln; //             wad, ln(shocked / forward)
        int256 factor; //         wad, of sigma
        int256 addend; //         wad, to w
        int256 group; //          g: undiscounted pnl of the expiry being read
        int256 carried; //        c: folded pnl of the expiries that are closed
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
        returns (Health memory)
    {
        return _judged(_copy(pf), Blob.risk(params.setAt(version)), mode, named);
    }

    /// @dev Wider moves are not worse for every book: who has his initial margin must have the maintenance one too.
    function _judged(Portfolio memory pf, RiskParams memory p, Price mode, uint256 named)
        internal
        view
        returns (Health memory h)
    {
        h = _assess(pf, p, mode, named);
        if (mode == Price.Initial && h.widened) h.im = Math.max(h.im, _assess(pf, p, Price.Bid, named).mm);
    }

    /// @notice Value a portfolio under the current set, or under the one before where that is kinder: while a new
    /// set is phased in, the old requirement, grown by 1 % a minute, is a limit to the new one.
    /// @param named as in `assess`. The old set is evaluated in the same scenarios, and in all of its own only where
    /// those do not condemn the portfolio
    /// @return h with the requirement that binds @return version the set it is from
    function standing(Portfolio calldata pf, Price mode, uint256 named)
        external
        view
        returns (Health memory h, uint256 version)
    {
        uint256 growth;
        uint256 previous;
        (version, previous, growth) = params.ramp();
        Portfolio memory copy = _copy(pf);
        h = _judged(copy, Blob.risk(params.setAt(version)), mode, named);
        if (previous == 0) return (h, version);
        Health memory old = _before(copy, previous, mode, named, growth);
        h.clamped = old.clamped = h.clamped || old.clamped;
        if (h.equity - int256(h.mm) < old.equity - int256(old.mm)) return (old, previous);
    }

    /// @dev Array by array: the compiler's own copy of the struct goes word by word.
    function _copy(Portfolio calldata pf) internal pure returns (Portfolio memory copy) {
        (copy.cash, copy.legs, copy.collateral) = (pf.cash, pf.legs, pf.collateral);
    }

    /// @dev Where a portfolio stands under the old set.
    function _before(Portfolio memory pf, uint256 version, Price mode, uint256 named, uint256 growth)
        internal
        view
        returns (Health memory h)
    {
        RiskParams memory p = Blob.risk(params.setAt(version));
        if (named != ALL && _has(p, named)) {
            h = _judged(pf, p, mode, named);
            h.mm = Math.fullMulDivUp(h.mm, growth, WAD);
            if (h.equity < int256(h.mm)) return h;
        }
        h = _judged(pf, p, mode, ALL);
        h.mm = Math.fullMulDivUp(h.mm, growth, WAD);
    }

    /// @dev All named scenarios are there.
    function _has(RiskParams memory p, uint256 named) internal pure returns (bool) {
        for (uint256 u; u < p.depths.length; ++u) {
            if ((named >> (8 * u)) & 0xff >= p.scenarios.length) return false;
        }
        return true;
    }

    function _assess(Portfolio memory pf, RiskParams memory p, Price mode, uint256 named)
        internal
        view
        returns (Health memory h)
    {
        uint256[] memory legs = pf.legs;
        Leg.sort(legs);
        h.equity = pf.cash;
        uint256 normal = legs.length == 0 ? 0 : Normal.table();
        uint256 i;
        for (uint256 u; u < p.depths.length; ++u) {
            int256 units = _collateral(pf, p, u);
            uint256 end = Leg.endOf(legs, i, u);
            if (end == i && units == 0) continue;
            Book memory b = _open(p, u, mode, named, h);
            b.normal = normal;
            if (end != i) _revalue(b, p, legs, i, end);
            _close(b, p, pf, units, named, h);
            i = end;
        }
        if (i != legs.length) revert UnknownUnderlying(legs[i].underlying());
    }

    /// @dev Units of collateral whose price is that of underlying `u`. What was listed after the set counts for nothing.
    function _collateral(Portfolio memory pf, RiskParams memory p, uint256 u) internal pure returns (int256 units) {
        uint256 count = Math.min(pf.collateral.length, p.assets.length);
        for (uint256 a = 1; a < count; ++a) {
            uint256 amount = pf.collateral[a];
            if (amount != 0 && Collateral.underlying(p.assets[a]) == u) units += int256(amount);
        }
    }

    /// @dev Start on one underlying: its price and the scenarios to evaluate.
    function _open(RiskParams memory p, uint256 u, Price mode, uint256 named, Health memory h)
        internal
        view
        returns (Book memory b)
    {
        b.u = u;
        h.underlyings |= 1 << u;
        _scenarios(b, p, _quote(b, p, mode, h), named);
    }

    /// @dev Price and confidence. @return what the price moves of scenarios are multiplied by, wad
    function _quote(Book memory b, RiskParams memory p, Price mode, Health memory h) internal view returns (int256) {
        (uint256 spot, uint256 mark, uint256 factor, uint256 eased, uint256 confidence, bool stale) =
            oracle.quote(b.u, mode, p.stressCap > WAD);
        b.price = mode == Price.Spot ? spot : price(spot, mark, mode == Price.Trigger ? p.triggerBand : p.bidBand);
        b.confidence = confidence;
        if (b.price != spot) h.clamped = true;
        if (stale) h.stale = true;
        factor = Math.min(factor, p.stressCap);
        if (factor > Math.min(eased, p.stressCap)) h.widened = true;
        return int256(factor);
    }

    /// @dev The scenarios to evaluate, their price moves times what volatility makes of them.
    function _scenarios(Book memory b, RiskParams memory p, int256 factor, uint256 named) internal pure {
        b.shocks = new Shock[](named == ALL ? p.scenarios.length : 1);
        for (uint256 s; s < b.shocks.length; ++s) {
            uint256 word = p.scenarios[named == ALL ? s : (named >> (8 * b.u)) & 0xff];
            Shock memory x = b.shocks[s];
            (x.kind, x.vol, x.weight) = (Scenario.kind(word), Scenario.vol(word), Scenario.weight(word));
            (x.move, x.lnMove) = (Scenario.spot(word), Scenario.lnSpot(word));
            if (factor == SWAD) continue;
            x.move = x.move * factor / SWAD;
            if (x.move < DEEPEST) x.move = DEEPEST;
            x.lnMove = Math.lnWad(SWAD + x.move);
        }
    }

    /// @notice The price a portfolio is valued at: spot, limited to a band around a mark.
    function price(uint256 spot, uint256 mark, uint256 band) public pure returns (uint256) {
        return Fixed.clamp(spot, mark * (WAD - band) / WAD, mark * (WAD + band) / WAD);
    }

    /// @dev Add one underlying to the account's health.
    function _close(
        Book memory b, RiskParams memory p, Portfolio memory pf, int256 units, uint256 named, Health memory h
    ) internal pure {
        int256 value = Fixed.mulDown(units, int256(b.price));
        h.equity += b.worth + value;
        h.exposures[b.u] = Fixed.mulDown(b.delta + units, int256(b.price));
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
        for (uint256 s; s < b.shocks.length; ++s) {
            Shock memory x = b.shocks[s];
            int256 pnl = x.carried;
            if (value != 0) pnl = (pnl < 0 ? pnl : int256(0)) + Fixed.mulDown(value, x.move);
            if (pnl >= 0) continue;
            uint256 l = Fixed.mulUp(uint256(-pnl), x.weight);
            if (l <= loss) continue;
            loss = l;
            if (named == ALL) worst = s;
        }
    }

    /// @dev Size, naked shorts, low confidence, gross shorts.
    function _addOns(Book memory b, RiskParams memory p, int256 units, Health memory h) internal pure {
        uint256 exposure = Fixed.mulUp(_reach(b, units), b.price);
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

    /// @dev The largest delta there is, now or once some of the expiries are over: an early one hides no later one.
    function _reach(Book memory b, int256 units) internal pure returns (uint256) {
        int256 delta = b.delta + units;
        return Math.max(Fixed.abs(delta - b.least), Fixed.abs(delta - b.most));
    }

    function _haircuts(Book memory b, RiskParams memory p, Portfolio memory pf, Health memory h) internal pure {
        for (uint256 a = 1; a < pf.collateral.length && a < p.assets.length; ++a) {
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
        for (; i < end; i = Leg.next(i)) {
            uint256 leg = Leg.at(legs, i);
            if (leg.expiry() != t.expiry) {
                if (t.expiry != 0) _fold(b, t);
                t = _term(b, p, leg.expiry());
            }
            _leg(b, t, leg);
        }
        _fold(b, t);
    }

    /// @dev Close an expiry: c <- min(c, 0) + g. Unchecked: a discount is below 2^66, see `_leg` for the rest.
    function _fold(Book memory b, Term memory t) internal pure {
        int256 discount = int256(t.discount);
        b.worth += Fixed.rawMulDown(b.value, discount);
        b.value = 0;
        Shock[] memory shocks = b.shocks;
        unchecked {
            for (uint256 s; s < shocks.length; ++s) {
                Shock memory x = shocks[s];
                int256 c = x.carried;
                x.carried = (c < 0 ? c : int256(0)) + Fixed.rawMulDown(x.group, discount);
                x.group = 0;
            }
        }
        b.calls = (b.calls < 0 ? b.calls : int256(0)) + b.callsNow;
        b.puts = (b.puts < 0 ? b.puts : int256(0)) + b.putsNow;
        b.callsNow = b.putsNow = 0;
        if (b.delta < b.least) b.least = b.delta;
        if (b.delta > b.most) b.most = b.delta;
    }

    /// @dev What all legs of one expiry share.
    function _term(Book memory b, RiskParams memory p, uint256 expiry) internal view returns (Term memory t) {
        t.expiry = expiry;
        int256 rate;
        uint256 fixed_;
        (t.atm, t.skew, t.curv, rate, t.confidence, fixed_, t.open) = oracle.term(b.u, expiry);
        if (b.confidence < t.confidence) t.confidence = b.confidence;
        uint256 left = expiry > block.timestamp ? expiry - block.timestamp : 0;
        t.rootT = Math.sqrt(left * 1e36 / YEAR);
        t.discount = uint256(Math.expWad(-rate * int256(left) / int256(YEAR)));
        uint256 rest = b.price * t.open / WAD;
        t.forward = (fixed_ + rest) * WAD / t.discount;
        t.moving = fixed_ == 0 ? WAD : rest * WAD / (fixed_ + rest);
        _shock(b, p, t, left);
    }

    /// @dev The scenarios, as they apply to one expiry. Unchecked: moves are above -1, vols are int16 bps.
    function _shock(Book memory b, RiskParams memory p, Term memory t, uint256 left) internal pure {
        int256 slope; // 0: not asked for yet
        Shock[] memory shocks = b.shocks;
        unchecked {
            for (uint256 s; s < shocks.length; ++s) {
                Shock memory x = shocks[s];
                int256 move = x.move;
                x.ln = x.lnMove;
                if (t.moving != WAD) {
                    move = move * int256(t.moving) / SWAD;
                    x.ln = Math.lnWad(SWAD + move);
                }
                x.forward = uint256(int256(t.forward) * (SWAD + move) / SWAD);
                (x.factor, x.addend) = (SWAD, 0);
                if (x.kind == Scenario.TERM && x.vol != 0) {
                    if (slope == 0) slope = volSlope(p, left);
                    x.factor += x.vol * slope / SWAD;
                } else if (x.kind == Scenario.RELATIVE) x.factor += x.vol;
                else if (x.kind == Scenario.ABSOLUTE) x.addend = x.vol * int256(t.rootT) / SWAD;
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
            (int256 n, bool call, uint256 k) = (leg.size(), leg.isCall(), leg.strike());
            (int256 ln, uint256 w) = _point(t, k);
            (uint256 v, uint256 n1) = Black76.value(b.normal, call, t.forward, k, ln, w);
            _gains(b, n, call, k, ln, w, v);
            b.value += Fixed.rawMulDown(n, int256(v));
            int256 delta = call ? int256(n1) : int256(n1) - int256(Normal.ONE);
            b.delta += (n * delta >> Normal.SCALE) * int256(t.open) / SWAD;
            if (n < 0) b.shorts += uint256(-n);
            if (t.confidence != 1e4) b.doubt += Fixed.abs(n) * (1e4 - t.confidence) / 1e4;
            if (call) b.callsNow += n;
            else b.putsNow += n;
        }
    }

    function _gains(Book memory b, int256 n, bool call, uint256 k, int256 ln, uint256 w, uint256 v) internal pure {
        unchecked {
            Shock[] memory shocks = b.shocks;
            for (uint256 s; s < shocks.length; ++s) {
                Shock memory x = shocks[s];
                (uint256 vs,) = Black76.value(b.normal, call, x.forward, k, ln + x.ln, _shocked(x, w));
                x.group += Fixed.rawMulDown(n, int256(vs) - int256(v));
            }
        }
    }

    /// @notice Black (1976): what an option is worth undiscounted, and N(d1), the forward delta of the call. All wad.
    /// @param w sigma sqrt(t)
    function value(bool isCall, uint256 forward, uint256 strike, uint256 w)
        external
        pure
        returns (uint256 v, uint256 n1)
    {
        (v, n1) = Black76.value(Normal.table(), isCall, forward, strike, _ln(forward, strike), w);
        n1 = n1 * WAD >> Normal.SCALE;
    }

    /// @dev sigma(K) = atm + skew x + curv x^2 within [SIGMA_MIN, SIGMA_MAX], x = ln(K / F) / sqrt(t).
    /// @return ln ln(F / K) @return w sigma sqrt(t)
    function _point(Term memory t, uint256 k) internal pure returns (int256 ln, uint256 w) {
        ln = _ln(t.forward, k);
        if (t.rootT == 0) return (ln, 0);
        (uint256 rootT, uint256 atm, int256 skew, int256 curv) = (t.rootT, t.atm, t.skew, t.curv);
        assembly ("memory-safe") {
            let x := sdiv(mul(sub(0, ln), WAD), rootT)
            let sigma := add(add(atm, sdiv(mul(skew, x), WAD)), sdiv(mul(curv, sdiv(mul(x, x), WAD)), WAD))
            if slt(sigma, SIGMA_MIN) { sigma := SIGMA_MIN }
            if sgt(sigma, SIGMA_MAX) { sigma := SIGMA_MAX }
            w := div(mul(sigma, rootT), WAD)
        }
    }

    /// @dev ln(F / K), of at least one wei
    function _ln(uint256 forward, uint256 k) internal pure returns (int256) {
        uint256 ratio;
        assembly ("memory-safe") {
            ratio := div(mul(forward, WAD), k)
            ratio := or(ratio, iszero(ratio))
        }
        return Math.lnWad(int256(ratio));
    }

    /// @dev w in a scenario, at least 0.
    function _shocked(Shock memory x, uint256 w) internal pure returns (uint256) {
        unchecked {
            int256 ws = int256(w) * x.factor / SWAD + x.addend;
            return ws < 0 ? 0 : uint256(ws);
        }
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    COMPONENTS
    ------------------------------------------------------------------------------------------------------ */

    /// @notice What the loss of the worst scenario is made of: the moves of price and volatility times delta, gamma
    /// and vega, and the rest, which is all that those cannot say: higher orders, and gains that fold away.
    function components(Portfolio calldata pf, uint256 version, Price mode) external view returns (Components memory c) {
        RiskParams memory p = Blob.risk(params.setAt(version));
        Health memory h = _assess(_copy(pf), p, mode, ALL);
        (c.loss, c.worst) = (h.loss, h.worst);
        uint256[] memory legs = pf.legs;
        Leg.sort(legs);
        uint256 i;
        for (uint256 u; u < p.depths.length; ++u) {
            uint256 end = Leg.endOf(legs, i, u);
            int256 units = _collateral(pf, p, u);
            if (end != i || units != 0) {
                Book memory b = _open(p, u, mode, h.worst, h);
                b.normal = Normal.table();
                Components memory mine;
                _greeks(b, p, legs, i, end, mine);
                mine.delta += Fixed.mulDown(Fixed.mulDown(units, int256(b.price)), b.shocks[0].move);
                if (end != i) _revalue(b, p, legs, i, end);
                _attribute(b, Fixed.mulDown(units, int256(b.price)), h.worst, mine, c);
            }
            i = end;
        }
        c.remainder = int256(c.loss) - c.delta - c.gamma - c.vega;
    }

    /// @dev First and second order gains of legs [i, end) in the one scenario of the book.
    function _greeks(
        Book memory b, RiskParams memory p, uint256[] memory legs, uint256 i, uint256 end, Components memory sum
    ) internal view {
        Term memory t;
        for (; i < end; ++i) {
            if (legs[i].expiry() != t.expiry) t = _term(b, p, legs[i].expiry());
            (int256 delta, int256 gamma, int256 vega) = _greek(b, t, legs[i]);
            int256 n = legs[i].size() * int256(t.discount) / SWAD;
            sum.delta += n * delta / SWAD;
            sum.gamma += n * gamma / SWAD;
            sum.vega += n * vega / SWAD;
        }
    }

    /// @dev Per contract, undiscounted: delta dF, gamma dF^2 / 2, vega dw.
    function _greek(Book memory b, Term memory t, uint256 leg)
        internal
        pure
        returns (int256 delta, int256 gamma, int256 vega)
    {
        uint256 k = leg.strike();
        (int256 ln, uint256 w) = _point(t, k);
        (, uint256 n1) = Black76.value(b.normal, true, t.forward, k, ln, w);
        Shock memory x = b.shocks[0];
        int256 move = int256(x.forward) - int256(t.forward);
        delta = (leg.isCall() ? int256(n1) : int256(n1) - int256(Normal.ONE)) * move >> Normal.SCALE;
        if (w >= Black76.MIN_W) (gamma, vega) = _curvature(x, t, ln, w, move);
    }

    function _curvature(Shock memory x, Term memory t, int256 ln, uint256 w, int256 move)
        internal
        pure
        returns (int256 gamma, int256 vega)
    {
        int256 phi = int256(Black76.density(ln, w));
        int256 forward = int256(t.forward);
        gamma = phi * move / forward * move / int256(w) / 2;
        vega = phi * (int256(_shocked(x, w)) - int256(w)) / SWAD * forward / SWAD;
    }

    /// @dev Losses instead of gains, and weighted; nothing where the underlying loses nothing.
    function _attribute(Book memory b, int256 value, uint256 worst, Components memory mine, Components memory c)
        internal
        pure
    {
        (uint256 loss,) = _loss(b, value, worst);
        if (loss == 0) return;
        int256 weight = int256(b.shocks[0].weight);
        c.delta -= mine.delta * weight / SWAD;
        c.gamma -= mine.gamma * weight / SWAD;
        c.vega -= mine.vega * weight / SWAD;
    }
}
