// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";
import {IAuctions} from "./interfaces/IAuctions.sol";
import {AuctionParams, Fill, Health, Price} from "./interfaces/Types.sol";
import {Clearing} from "./Clearing.sol";
import {Auction, Auctions, Clocks} from "./lib/Auction.sol";
import {Blob} from "./lib/Blob.sol";
import {Fixed} from "./lib/Fixed.sol";
import {Oracle} from "./Oracle.sol";
import {Params} from "./Params.sol";
import {Risk} from "./Risk.sol";
import {Sealed} from "./Sealed.sol";

/// @title Liquidator
/// @notice Sells accounts that do not hold their maintenance requirement.
///
/// One auction in units of risk serves every state, from barely unhealthy to insolvent. The price of the whole
/// account is P = E - rho Q, where rho rises with live time; a slice f costs f P. A bidder may take up to
///
///     fmax: the slice after which E / Q = 1 + buffer, everything once P <= 0
///
/// so soft and full liquidation are one rule. The insurance fund pays only when P < 0, and rho is capped where
/// it pays: at the greater of E / Q and rhoFund while E >= 0, at rho2 below. What the fund's own caps refuse does not
/// wait for a better price: `Waterfall` closes the account against its counterparties.
///
/// A bidder also pays for the pool slippage that is more than one small account's: see `_impact`.
///
///     flag ──► bid, bid, … ──► sold          takeover: the backstop, at a fixed discount
///       │        └─ restart                  cure: healthy again
///       └──────► Waterfall: close-out, queue, shared loss
contract Liquidator is IAuctions {
    using Auctions for Auction;
    using Auctions for uint256;
    using Clocks for uint256;

    /* ------------------------------------------------------------------------------------------------------
                                                      TYPES
    ------------------------------------------------------------------------------------------------------ */

    /// @notice What an auction offers now.
    struct Offer {
        int256 equity; //      usd, at the bid price
        uint256 mm; //         usd, in the auction's scenario
        uint256 rho; //        wad, of the clock
        uint256 rhoPaid; //    wad, after the caps where the fund pays
        int256 price; //       usd, of the whole account, rounded up; negative: the fund adds to it
        uint256 fmax; //       wad
        uint256 fee; //        usd, of the whole account, on top of the price
        uint256 refused; //    usd, what the fund's caps took off its payment for the whole account
    }

    /// @notice An auction and its account, as everything that acts on it sees them.
    struct Standing {
        AuctionParams p;
        Health health; //      at the bid price, in the auction's scenario
        uint256 t; //          live seconds since the clock began
        uint256 left; //       usd, what the fund may still pay
        Offer offer;
    }

    /// @notice Delta that liquidations have sold of one underlying, as it stood at `time`.
    struct Flow {
        uint40 time; //        block time
        int216 usd; //         signed: positive where the buyers have to sell
    }

    event FlaggedAccount(
        uint256 indexed account, address indexed by, uint256 version, uint256 scenario, int256 equity, uint256 mm,
        uint256 clocks
    );
    event Improved(uint256 indexed account, address indexed by, uint256 scenario, uint256 mm);
    event Cured(uint256 indexed account, int256 equity, uint256 mm);
    event Sold(
        uint256 indexed account, uint256 indexed bidder, bool takeover, uint256 fraction, uint256 rho, int256 price,
        uint256 fee, int256 equity, uint256 mm, uint256 impact
    );
    event Flowed(uint256 indexed u, int256 flow);
    event Closed(uint256 indexed account);
    event FundSpent(uint256 indexed account, uint256 amount);
    event Restarted(uint256 indexed account, address indexed by);
    event Backstop(address indexed who, bool allowed);

    error Unauthorised();
    error Healthy(uint256 account, int256 equity, uint256 mm);
    error NotFlagged(uint256 account);
    error AlreadyFlagged(uint256 account, uint256 flaggedAt);
    error NotWorse(uint256 account, uint256 mm, uint256 was);
    error NotYet(uint256 account, uint256 now_, uint256 from); // seconds, block times, messages, or discounts
    error NotRestored(uint256 account, int256 equity, uint256 needed);
    error Stale(uint256 account);
    error Level(uint256 level);
    error SelfBid(uint256 account, uint256 bidder);
    error PriceAboveLimit(int256 price, int256 limit);
    error ChangedMeanwhile(uint256 expected, uint256 actual);
    error NothingToDo(uint256 fraction, uint256 least);
    error OverCap(uint256 used, uint256 cap);
    error SealedStage(uint256 account, Sealed.Phase phase);

    /* ------------------------------------------------------------------------------------------------------
                                                     STORAGE
    ------------------------------------------------------------------------------------------------------ */

    uint256 private constant WAD = 1e18;
    int256 private constant SWAD = 1e18;

    Clearing public immutable clearing;
    Oracle public immutable oracle;
    Params public immutable params;
    Risk public immutable risk;

    mapping(uint256 account => uint256) internal packed; // see `Auctions`
    mapping(uint256 account => uint256) public spent; //    usd, paid by the fund for the auction, or the one before it
    mapping(address who => bool) public backstop;
    address public waterfall; //    set once, with
    Sealed public sealedBids;
    address public quotes;
    uint40 internal epochStart; //  block time
    uint104 internal fundSpent; //  usd, in this epoch
    uint104 internal taken; //      usd of requirement, in this epoch
    mapping(uint256 u => Flow) public flows;

    constructor(Clearing clearing_) {
        (clearing, oracle, params, risk) =
            (clearing_, clearing_.oracle(), clearing_.params(), clearing_.risk());
    }

    function _params(uint256 version) internal view returns (AuctionParams memory) {
        return Blob.auction(params.setAt(version));
    }

    /// @notice Name the contracts around this one, once and for all.
    function setModules(address waterfall_, Sealed sealed_, address quotes_) external {
        if (msg.sender != params.governor() || waterfall != address(0)) revert Unauthorised();
        (waterfall, sealedBids, quotes) = (waterfall_, sealed_, quotes_);
    }

    modifier onlyWaterfall() {
        if (msg.sender != waterfall) revert Unauthorised();
        _;
    }

    function setBackstop(address who, bool allowed) external {
        if (msg.sender != params.governor()) revert Unauthorised();
        backstop[who] = allowed;
        emit Backstop(who, allowed);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                 FLAG AND CURE
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Start an auction. `scenario` (a byte per underlying) must prove E < Q both at the trigger price and
    /// at spot: a wick moves only spot, a stale mark only the trigger.
    function flag(uint256 account, uint32 scenario) external {
        Auction memory a = auctionOf(account);
        if (a.flaggedAt != 0) revert AlreadyFlagged(account, a.flaggedAt);
        _start(account, a, scenario);
    }

    /// @notice Begin again, at the current parameters, when the price has come to its end and nobody bought. What the
    /// fund has already paid for the account still counts.
    function restart(uint256 account, uint32 scenario) external {
        Auction memory a = _running(account);
        AuctionParams memory p = _params(a.version);
        (uint256 t,) = _elapsed(a, 15); // every underlying there can be
        if (t < p.t1 + p.t2) revert NotYet(account, t, p.t1 + p.t2);
        _endStage(account, a);
        emit Restarted(account, msg.sender);
        _start(account, a, scenario);
    }

    function _start(uint256 account, Auction memory a, uint32 scenario) internal {
        uint256 calm = _calm();
        (Health memory h, uint256 version) = _condemned(account, scenario);
        AuctionParams memory p = _params(version);
        uint256 clocks = _clocks(account, h.underlyings, p.grace);
        calm += p.grace;
        if (block.timestamp < calm) revert NotYet(account, block.timestamp, calm);
        bool first = a.flaggedAt == 0;
        if (a.curedAt != 0 && block.timestamp - a.curedAt <= p.cureMemory) {
            a.clocks = Clocks.resumed(a.clocks, clocks);
        } else {
            if (a.curedAt != 0) spent[account] = 0;
            (a.clocks, a.since) = (clocks, block.timestamp);
        }
        (a.version, a.scenario, a.flaggedAt, a.curedAt) = (version, h.worst, block.timestamp, 0);
        packed[account] = a.pack();
        emit FlaggedAccount(account, msg.sender, version, h.worst, h.equity, h.mm, a.clocks);
        if (h.equity < 0) clearing.note(account, h.mm);
        else if (!first) clearing.note(account, 0);
    }

    /// @dev Since when the level is below 2; reverts where it is not.
    function _calm() internal view returns (uint256 since) {
        uint256 level;
        (level, since) = oracle.calm();
        if (level >= 2) revert Level(level);
    }

    /// @dev The account at the trigger price; reverts unless it is below its requirement there and at spot.
    /// While a new parameter set is phased in, the kinder of it and the old one must condemn the account.
    function _condemned(uint256 account, uint256 scenario) internal view returns (Health memory h, uint256 version) {
        (h, version) = clearing.standing(account, Price.Trigger, scenario);
        if (h.stale) revert Stale(account);
        _unhealthy(account, h);
        if (!h.clamped) return (h, version);
        (Health memory spot,) = clearing.standing(account, Price.Spot, scenario);
        _unhealthy(account, spot);
    }

    function _unhealthy(uint256 account, Health memory h) internal pure {
        if (h.equity >= int256(h.mm)) revert Healthy(account, h.equity, h.mm);
    }

    /// @dev Clocks of every underlying in the set; none may be fresh from an outage.
    function _clocks(uint256 account, uint256 set, uint256 grace) internal view returns (uint256 clocks) {
        for (uint256 u; set >> u != 0; ++u) {
            if ((set >> u) & 1 == 0) continue;
            (uint256 live, uint256 round, uint256 resumed,) = oracle.pulse(u);
            if (block.timestamp < resumed + grace) revert NotYet(account, block.timestamp, resumed + grace);
            clocks |= Clocks.entry(u, live, round);
        }
    }

    /// @notice Replace the scenario of a running auction by one with a larger requirement.
    function improve(uint256 account, uint32 scenario) external {
        Auction memory a = _running(account);
        Health memory was = clearing.assess(account, a.version, Price.Bid, a.scenario);
        Health memory is_ = clearing.assess(account, a.version, Price.Bid, scenario);
        if (is_.mm <= was.mm) revert NotWorse(account, is_.mm, was.mm);
        a.scenario = scenario;
        packed[account] = a.pack();
        emit Improved(account, msg.sender, scenario, is_.mm);
    }

    /// @notice End the auction of an account that is clearly healthy again: E >= Q (1 + buffer / 5), every scenario.
    function cure(uint256 account) external {
        Auction memory a = _running(account);
        (Health memory h, uint256 version) = clearing.standing(account, Price.Bid, risk.ALL());
        if (h.stale) revert Stale(account);
        uint256 needed = Fixed.mulUp(h.mm, WAD + _params(version).buffer / 5);
        if (h.equity < int256(needed)) revert NotRestored(account, h.equity, needed);
        _cured(account, a, h.equity, h.mm);
    }

    /// @notice The account was insured: its auction ends as by a cure.
    function covered(uint256 account) external {
        if (msg.sender != quotes) revert Unauthorised();
        Auction memory a = _running(account);
        Health memory h = clearing.assess(account, a.version, Price.Bid, a.scenario);
        _cured(account, a, h.equity, h.mm);
    }

    function _cured(uint256 account, Auction memory a, int256 equity, uint256 mm) internal {
        _end(account, a);
        (a.flaggedAt, a.curedAt) = (0, block.timestamp);
        packed[account] = a.pack();
        emit Cured(account, equity, mm);
    }

    /// @notice Bring up to date what the account counts for among the insolvent. Anyone may call.
    function note(uint256 account) public {
        Auction memory a = _running(account);
        Health memory h = clearing.assess(account, a.version, Price.Bid, a.scenario);
        clearing.note(account, h.equity < 0 ? h.mm : 0);
    }

    /// @inheritdoc IAuctions
    function runs(uint256 account) external view returns (bool) {
        return packed[account].runs();
    }

    /// @notice The auction of an account, running, cured or none.
    function auctionOf(uint256 account) public view returns (Auction memory) {
        return Auctions.unpack(packed[account]);
    }

    function _running(uint256 account) internal view returns (Auction memory a) {
        a = auctionOf(account);
        if (a.flaggedAt == 0) revert NotFlagged(account);
    }

    function _end(uint256 account, Auction memory a) internal {
        _endStage(account, a);
        clearing.note(account, 0);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                      PRICE
    ------------------------------------------------------------------------------------------------------ */

    /// @notice What the auction of an account offers at block.timestamp.
    function offer(uint256 account) external view returns (Offer memory o) {
        Auction memory a = _running(account);
        AuctionParams memory p = _params(a.version);
        Health memory h = clearing.assess(account, a.version, Price.Bid, a.scenario);
        (uint256 t,) = _elapsed(a, h.underlyings);
        return _offer(h, p, rhoAt(p, t), fundLeft(p, h.mm, spent[account]));
    }

    /// @notice The discount after `t` live seconds: rho0 -> rho1 over t1, -> rho2 over t2, then constant.
    function rhoAt(AuctionParams memory p, uint256 t) public pure returns (uint256) {
        if (t < p.t1) return p.rho0 + (p.rho1 - p.rho0) * t / p.t1;
        t -= p.t1;
        return t < p.t2 ? p.rho1 + (p.rho2 - p.rho1) * t / p.t2 : p.rho2;
    }

    /// @dev P = E - rhoPaid Q, never below what the fund may pay; the bidder pays P and the fee.
    function _offer(Health memory h, AuctionParams memory p, uint256 rho, uint256 left)
        internal
        pure
        returns (Offer memory o)
    {
        (o.equity, o.mm, o.rho) = (h.equity, h.mm, rho);
        o.rhoPaid = rhoPaid(p, h.equity, h.mm, rho);
        uint256 discount = h.mm * o.rhoPaid / WAD;
        o.price = h.equity - int256(discount);
        if (o.price < -int256(left)) {
            o.refused = uint256(-o.price) - left;
            o.price = -int256(left);
        }
        uint256 base = o.price <= 0 ? 0 : Math.min(discount, uint256(o.price));
        o.fee = Fixed.mulUp(base, p.fee);
        o.fmax = fmax(h.equity, h.mm, h.convex, o.rhoPaid, p);
    }

    /// @notice rho, capped where the fund would pay: max(E / Q, rhoFund) while E >= 0, rho2 below.
    function rhoPaid(AuctionParams memory p, int256 equity, uint256 mm, uint256 rho) public pure returns (uint256) {
        if (equity < 0 || mm == 0) return Math.min(rho, p.rho2);
        return Math.min(rho, Math.max(uint256(equity) * WAD / mm, p.rhoFund));
    }

    /// @notice The largest slice: the rest g has E - rho Q = (1 + b) Q(g) - rho Q g, Q(g) = a g + c g^2.
    /// With x = E - rho Q, B = (1 + b) a - rho Q, C = (1 + b) c the root is g = 2 x / (B + sqrt(B^2 + 4 C x));
    /// c = 0 gives 1 - g = (1 + b - h) / (1 + b - rho). Everything when x <= 0 or the rest would be dust; nothing of an
    /// account that has no requirement left, because its legs have been settled, and owes nothing.
    function fmax(int256 equity, uint256 mm, uint256 convex, uint256 rho, AuctionParams memory p)
        public
        pure
        returns (uint256)
    {
        if (mm == 0) return equity < 0 ? WAD : 0;
        int256 cost = int256(mm * rho / WAD);
        int256 x = equity - cost;
        if (x <= 0) return WAD;
        int256 B = int256((mm - convex) * (WAD + p.buffer) / WAD) - cost;
        uint256 C = convex * (WAD + p.buffer) / WAD;
        uint256 root = Math.sqrt(uint256(B * B) + 4 * C * uint256(x));
        // Both forms of the root, so that no difference of nearly equal numbers is taken.
        uint256 g = B >= 0
            ? Math.fullMulDivUp(2 * uint256(x), WAD, uint256(B) + root)
            : Math.fullMulDivUp(uint256(-B) + root, WAD, 2 * C);
        if (g >= WAD) return 0;
        uint256 f = WAD - g;
        if (f < p.minSlice) f = p.minSlice;
        return mm * g / WAD < p.dust ? WAD : f;
    }

    /// @dev Live seconds since the clock began and messages since the flag, the least over the underlyings. One that
    /// joined the account later, by a deposit, has no say.
    function _elapsed(Auction memory a, uint256 set) internal view returns (uint256 t, uint256 rounds) {
        (t, rounds) = (block.timestamp - a.since, type(uint256).max);
        for (uint256 u; set >> u != 0; ++u) {
            if ((set >> u) & 1 == 0 || !a.clocks.counts(u)) continue;
            (uint256 live, uint256 round,,) = oracle.pulse(u);
            (live, round) = a.clocks.passed(u, live, round);
            (t, rounds) = (Math.min(t, live), Math.min(rounds, round));
        }
    }

    /// @notice What the fund may still pay for an auction for which it has already paid `spentHere`.
    function fundLeft(AuctionParams memory p, uint256 mm, uint256 spentHere) public view returns (uint256) {
        uint256 fund = clearing.fund();
        uint256 past = block.timestamp < epochStart + p.epoch ? fundSpent : 0;
        uint256 here = Math.zeroFloorSub((fund + spentHere) * p.fundPerAuction / WAD, spentHere);
        uint256 epoch = Math.zeroFloorSub((fund + past) * p.fundPerEpoch / WAD, past);
        return Math.min(mm * p.rhoFund / WAD, Math.min(here, epoch));
    }

    /// @notice A running auction that may act now: the feed lives, the grace and the delay before the first bid are over.
    function standing(uint256 account) public view returns (Standing memory s) {
        Auction memory a = _running(account);
        if (oracle.level() >= 3) revert Level(3);
        s.p = _params(a.version);
        s.health = clearing.assess(account, a.version, Price.Bid, a.scenario);
        if (s.health.stale) revert Stale(account);
        _clocks(account, s.health.underlyings, s.p.grace);
        uint256 rounds;
        (s.t, rounds) = _elapsed(a, s.health.underlyings);
        uint256 waited = Math.min(s.t, block.timestamp - a.flaggedAt);
        if (waited < s.p.bidDelay) revert NotYet(account, waited, s.p.bidDelay);
        if (rounds < s.p.bidRounds) revert NotYet(account, rounds, s.p.bidRounds);
        s.left = fundLeft(s.p, s.health.mm, spent[account]);
        s.offer = _offer(s.health, s.p, rhoAt(s.p, s.t), s.left);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                       BUY
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Buy up to `most` of a flagged account; clipped to fmax, so a smaller offer is not a reason to fail.
    /// @param limit usd, the most to pay for the whole account, fee included; may be negative
    /// @param expected changeId of the account; what is bought is what was looked at
    function bid(uint256 account, uint256 bidder, uint256 most, int256 limit, uint256 expected)
        external
        returns (uint256 fraction, int256 paid)
    {
        _may(account, bidder, expected);
        _public(account);
        return _buy(account, bidder, most, limit, standing(account));
    }

    /// @dev No sealed stage stands in the way.
    function _public(uint256 account) internal view {
        (AuctionParams memory p, uint256 flaggedAt, uint256 t) = sealedClock(account);
        Sealed.Phase phase = sealedBids.phase(p, account, flaggedAt, t);
        if (phase != Sealed.Phase.None && phase != Sealed.Phase.Over) revert SealedStage(account, phase);
    }

    function _buy(uint256 account, uint256 bidder, uint256 most, int256 limit, Standing memory s)
        internal
        returns (uint256 fraction, int256 paid)
    {
        _turn(s.p);
        fraction = Math.min(most, s.offer.fmax);
        if (fraction < s.p.minSlice) revert NothingToDo(fraction, s.p.minSlice);
        paid = _sell(account, bidder, fraction, s, limit, false);
        _sold(account, fraction == s.offer.fmax);
    }

    /// @notice The backstop takes the whole account at rhoTake: once the clock has passed it and the account is below
    /// hTake, or after t1.
    function takeover(uint256 account, uint256 receiver, int256 limit, uint256 expected) external returns (int256 paid) {
        if (!backstop[address(uint160(receiver))]) revert Unauthorised();
        _may(account, receiver, expected);
        Standing memory s = standing(account);
        _turn(s.p);
        bool low = s.health.equity < int256(s.health.mm * s.p.hTake / WAD);
        if (s.offer.rho < s.p.rhoTake) revert NotYet(account, s.offer.rho, s.p.rhoTake);
        if (!low && s.t <= s.p.t1) revert NotYet(account, s.t, s.p.t1 + 1);
        _spendTake(s.p, s.health.mm);
        s.offer = _offer(s.health, s.p, s.p.rhoTake, s.left);
        paid = _sell(account, receiver, WAD, s, limit, true);
        _sold(account, true);
    }

    /// @dev The caller acts for the bidder, who is not the owner, and the account is what was looked at.
    function _may(uint256 account, uint256 bidder, uint256 expected) internal view {
        if (!clearing.mayAct(bidder, msg.sender)) revert Unauthorised();
        if (uint160(account) == uint160(bidder)) revert SelfBid(account, bidder);
        uint256 actual = clearing.accountOf(account).changeId;
        if (actual != expected) revert ChangedMeanwhile(expected, actual);
    }

    function _sell(uint256 account, uint256 bidder, uint256 f, Standing memory s, int256 limit, bool takeover_)
        internal
        returns (int256 paid)
    {
        Offer memory o = s.offer;
        uint256 impact = _impact(account, s, f);
        int256 whole = o.price + int256(o.fee + Math.fullMulDivUp(impact, WAD, f));
        if (whole > limit) revert PriceAboveLimit(whole, limit);
        paid = Fixed.mulUp(o.price, int256(f));
        uint256 fee = Fixed.mulUp(o.fee, f) + impact;
        uint256 fromFund = paid < 0 ? uint256(-paid) : 0;
        if (fromFund != 0) _spend(account, fromFund);
        clearing.slice(Fill(account, bidder, f, paid, fee, fee * s.p.reserveShare / WAD, fromFund));
        emit Sold(account, bidder, takeover_, f, o.rhoPaid, paid, fee, o.equity, o.mm, impact);
    }

    /// @dev What the delta of this slice costs, on top of the delta that was sold before it, wherever and whenever it is
    /// hedged: for each underlying impact ((F + e)^2 - F^2) / depth, at least 0, and F + e is what fades from now on.
    function _impact(uint256 account, Standing memory s, uint256 f) internal returns (uint256 charge) {
        if (s.p.impact == 0) return 0;
        uint256[] memory depths = Blob.risk(params.setAt(auctionOf(account).version)).depths;
        for (uint256 u; u < depths.length; ++u) {
            int256 e = Fixed.mulDown(s.health.exposures[u], int256(f));
            if (e == 0) continue;
            int256 flow = flowAt(u, s.p.impactTime);
            int256 grown = e * (2 * flow + e);
            if (grown > 0) charge += Math.fullMulDivUp(uint256(grown), s.p.impact, depths[u] * WAD);
            flows[u] = Flow(uint40(block.timestamp), int216(flow + e));
            emit Flowed(u, flow + e);
        }
    }

    /// @notice What is left at block.timestamp of the delta that liquidations have sold of underlying `u`, usd.
    function flowAt(uint256 u, uint256 fade) public view returns (int256) {
        Flow memory w = flows[u];
        if (w.usd == 0) return 0;
        return int256(w.usd) * Math.expWad(-int256((block.timestamp - w.time) * WAD / fade)) / SWAD;
    }

    /// @dev After a sale: the auction ends when all was sold that may be.
    function _sold(uint256 account, bool last) internal {
        if (!last) return note(account);
        _end(account, auctionOf(account));
        (packed[account], spent[account]) = (0, 0);
        emit Closed(account);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                  SEALED STAGE
    ------------------------------------------------------------------------------------------------------ */

    /// @notice The clock of the sealed stage: live seconds since the flag. An auction that continues an earlier clock,
    /// after a cure, has no sealed stage: commitTime is 0.
    function sealedClock(uint256 account) public view returns (AuctionParams memory p, uint256 flaggedAt, uint256 t) {
        Auction memory a = auctionOf(account);
        flaggedAt = a.flaggedAt;
        if (flaggedAt == 0) return (p, 0, 0);
        p = _params(a.version);
        if (a.since != flaggedAt) p.commitTime = 0;
        if (p.commitTime != 0) (t,) = _elapsed(a, 15);
    }

    /// @notice Maintenance requirement of an account in auction, usd: what a bond is a share of.
    function requirement(uint256 account) external view returns (uint256) {
        Auction memory a = _running(account);
        return clearing.assess(account, a.version, Price.Bid, a.scenario).mm;
    }

    /// @notice Fill a sealed bid at its own discount.
    function fill(uint256 account, uint256 bidder, uint256 most, uint256 rho) external returns (uint256 fraction) {
        if (msg.sender != address(sealedBids)) revert Unauthorised();
        Standing memory s = standing(account);
        s.offer = _offer(s.health, s.p, rho, s.left);
        (fraction,) = _buy(account, bidder, most, type(int256).max, s);
    }

    function _endStage(uint256 account, Auction memory a) internal {
        (AuctionParams memory p,, uint256 t) = sealedClock(account);
        if (p.commitTime != 0) sealedBids.ended(account, a.flaggedAt, t > p.commitTime + p.revealTime);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                   WATERFALL
    ------------------------------------------------------------------------------------------------------ */

    /// @notice The fund pays for an account outside of a sale.
    function spend(uint256 account, uint256 amount) external onlyWaterfall {
        _turn(_params(auctionOf(account).version));
        _spend(account, amount);
    }

    /// @notice The account was closed out: its auction is over.
    function finish(uint256 account) external onlyWaterfall {
        _sold(account, true);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                       CAPS
    ------------------------------------------------------------------------------------------------------ */

    /// @dev Begin a new epoch when the last is over.
    function _turn(AuctionParams memory p) internal {
        if (block.timestamp < epochStart + p.epoch) return;
        (epochStart, fundSpent, taken) = (uint40(block.timestamp), 0, 0);
    }

    function _spend(uint256 account, uint256 amount) internal {
        spent[account] += amount;
        fundSpent += uint104(amount);
        emit FundSpent(account, amount);
    }

    function _spendTake(AuctionParams memory p, uint256 mm) internal {
        if (taken + mm > p.takePerEpoch) revert OverCap(taken + mm, p.takePerEpoch);
        taken += uint104(mm);
    }
}
