// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {ECDSA} from "solady/src/utils/ECDSA.sol";
import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";
import {IBreaker} from "./interfaces/IBreaker.sol";
import {Price} from "./interfaces/Types.sol";
import {Fixed} from "./lib/Fixed.sol";
import {Pace} from "./lib/Pace.sol";

/// @title Oracle
/// @notice Prices, marks, volatility, smiles, the settlement average, the live clock and the breaker.
///
/// Every number is a function of stored state and block.timestamp: no poke is needed before a read, and any
/// number of pokes leaves it unchanged. Messages are signed by the publisher and carried by anyone.
///
///     spot                     as published, for the eye and for `Price.Spot`
///     slow, fast               EWMA of spot; margin uses spot within a band of one of them
///     sigma                    synthetic volatility: rises with the realised variance, falls slowly
///     atOnce, eased            sigma over the usual volatility, at least 1; `eased` climbs 1 % a minute, see `Pace.sol`
///     smile                    atm within a band of its own EWMA; a stale one gives way to realised volatility
///     clock                    stands while the feed is stale or frozen, and at level 3
///
/// Tightening is immediate: guardian and trippers raise the level, the guardian freezes a feed, a price far from
/// the mark trips by itself. Loosening is the governor's, and waits `delay` seconds in the open. So does a new key of
/// the publisher: should the old one be lost to somebody, the guardian freezes the feeds until then.
contract Oracle is IBreaker {
    /* ------------------------------------------------------------------------------------------------------
                                                      TYPES
    ------------------------------------------------------------------------------------------------------ */

    /// @dev Three words; the first two change with every message and stand at `time`, the third with outages.
    struct Feed {
        uint64 spot; //        8 decimals
        uint40 time; //        of the message; 0 before the first
        uint24 round; //       number of messages, modulo 2^24
        uint16 confidence; //  bps
        uint112 sum; //        8 decimals x seconds, integral of spot
        uint64 slow; //        12 decimals, EWMA with time constant slowT
        uint64 fast; //        12 decimals, EWMA with time constant fastT
        uint48 variance; //    1e-9 per year, realised, time constant riseT
        uint48 peak; //        1e-9 per year, sigma squared
        uint32 eased; //       1e-9, the factor that maintenance requirements use
        uint24 usual; //       ppm, volatility at which scenarios are not stretched; 0: not registered
        uint40 resumed; //     block time at which the last outage ended
        uint40 dead; //        seconds in which the clock stood, outages that are over
        uint40 stopped; //     block time since when it stands: frozen, or level 3; 0 when it does not
        bool frozen; //        no prices are taken
        bool probation; //     the next price must lie within firstBand of the last
    }

    struct Smile {
        uint32 atm; //         ppm
        int32 skew; //         ppm
        int32 curv; //         ppm
        int32 rate; //         ppm per year
        uint40 time; //        of the message
        uint16 confidence; //  bps
        uint64 smooth; //      wad, EWMA of atm with time constant smileT
    }

    /// @dev The last message before a multiple of `window`: enough to know the integral there.
    struct Step {
        uint40 time;
        uint64 spot; // 8 decimals
        uint152 sum; // 8 decimals x seconds
    }

    /// @dev One word.
    struct Breaker {
        uint8 raised; //       level that people and contracts have set
        uint40 tripUntil; //   block time until which the level is at least 2
        uint40 lowered; //     block time at which `raised` last fell below 2
    }

    struct Config {
        address publisher;
        address guardian; //   may only tighten
        address governor;
        uint256 slowT; //      seconds
        uint256 fastT; //      seconds
        uint256 smileT; //     seconds
        uint256 smileBand; //  wad around the smooth atm
        uint256 smileStep; //  ppm by which skew and curvature may change in one message
        uint256 maxAge; //     seconds, a spot older than this is stale
        uint256 smileAge; //   seconds, a smile older than this has confidence 0
        uint256 window; //     seconds of the settlement average; expiries are multiples of it
        uint256 riseT; //      seconds, of the realised variance
        uint256 fallT; //      seconds, >= riseT: sigma squared falls no faster than with this time constant
        uint256 premium; //    wad, >= 1: over realised volatility, where it stands in for a stale smile
        uint256 trip; //       wad, distance of a price from the slow mark that trips level 2
        uint256 tripFor; //    seconds
        uint256 firstBand; //  wad, see `Feed.probation`
        uint256 delay; //      seconds from `schedule` to `execute`
    }

    /// @notice What loosens. The value is a level, a feed, a feed, an address, an address.
    enum Act {
        Lower,
        Thaw,
        Vouch, //  let the next price of a feed on probation be anything
        Dismiss, // a tripper
        Replace // the publisher, by another key
    }

    event Configured(Config config);
    event Registered(uint256 indexed u, uint256 usual);
    event Published(uint256 indexed u, uint256 spot, uint256 time, uint256 confidence);
    event SmilePublished(
        uint256 indexed u, uint256 indexed expiry, uint256 atm, int256 skew, int256 curv, int256 rate,
        uint256 time, uint256 confidence
    );
    event BreakerChanged(Breaker breaker);
    event Frozen(uint256 indexed u);
    event Thawed(uint256 indexed u);
    event Vouched(uint256 indexed u);
    event Tripped(uint256 level, bytes32 reason);
    event Tripper(address indexed who, bool allowed);
    event Publisher(address indexed key);
    event Scheduled(Act indexed act, uint256 value, uint256 ready);
    event Cancelled(Act indexed act, uint256 value);

    error BadSignature(address signer);
    error BadMessage(bytes32 field, int256 value);
    error BadConfig(bytes32 field, uint256 value);
    error OutOfOrder(uint256 time, uint256 last);
    error FromTheFuture(uint256 time, uint256 now_);
    error TooOld(uint256 time, uint256 now_);
    error TooFar(uint256 spot, uint256 last);
    error FeedFrozen(uint256 u);
    error Unknown(uint256 u, uint256 expiry);
    error NotSettled(uint256 u, uint256 expiry);
    error NotReady(uint256 ready, uint256 now_);
    error NothingToDo();
    error Unauthorised();

    /* ------------------------------------------------------------------------------------------------------
                                                     STORAGE
    ------------------------------------------------------------------------------------------------------ */

    uint256 private constant WAD = 1e18;
    uint256 private constant YEAR = 31_536_000;
    uint256 private constant ONE = 1e9; //              of the factors in a feed
    uint256 private constant MAX_SPOT = 1 << 50; //     8 decimals; so that marks fit their 64 bits
    uint256 private constant MAX_ATM = 5e6; //          ppm
    int256 private constant MAX_RATE = 1e6; //          ppm per year, either sign
    uint256 private constant MAX_LEFT = 4 * YEAR; //    seconds from a smile to its expiry
    uint256 public constant MAX_UNDERLYINGS = 4;

    address public immutable guardian;
    address public immutable governor;
    uint256 public immutable slowT;
    uint256 public immutable fastT;
    uint256 public immutable smileT;
    uint256 public immutable smileBand;
    uint256 public immutable smileStep;
    uint256 public immutable maxAge;
    uint256 public immutable smileAge;
    uint256 public immutable window;
    uint256 public immutable riseT;
    uint256 public immutable fallT;
    uint256 public immutable premium;
    uint256 public immutable trip_;
    uint256 public immutable tripFor;
    uint256 public immutable firstBand;
    uint256 public immutable delay;

    address public publisher; //                        whose signature counts; replaced through `schedule` only
    Breaker internal breaker_;
    mapping(uint256 u => Feed) internal feeds;
    mapping(uint256 u => mapping(uint256 expiry => Smile)) internal smiles;
    mapping(uint256 u => Step[]) internal steps; //         by time; one for every crossing of a multiple of window
    mapping(address who => bool) public tripper; //         contracts that may raise the level by themselves
    mapping(Act => mapping(uint256 value => uint256)) public ready; // block time; 0 when not scheduled

    constructor(Config memory c) {
        _set(c.slowT != 0, "slowT", c.slowT);
        _set(c.fastT != 0, "fastT", c.fastT);
        _set(c.smileT != 0, "smileT", c.smileT);
        _set(c.maxAge != 0, "maxAge", c.maxAge);
        _set(c.smileAge != 0, "smileAge", c.smileAge);
        _set(c.window != 0, "window", c.window);
        _set(c.riseT != 0, "riseT", c.riseT);
        _set(c.fallT >= c.riseT, "fallT", c.fallT);
        _set(c.premium >= WAD && c.premium <= 4e18, "premium", c.premium);
        _set(c.smileBand != 0 && c.smileBand < WAD, "smileBand", c.smileBand);
        _set(c.firstBand != 0 && c.firstBand < WAD, "firstBand", c.firstBand);
        _set(c.trip != 0 && c.trip <= WAD, "trip", c.trip);
        _set(c.smileStep != 0, "smileStep", c.smileStep);
        publisher = c.publisher;
        guardian = c.guardian;
        governor = c.governor;
        slowT = c.slowT;
        fastT = c.fastT;
        smileT = c.smileT;
        smileBand = c.smileBand;
        smileStep = c.smileStep;
        maxAge = c.maxAge;
        smileAge = c.smileAge;
        window = c.window;
        riseT = c.riseT;
        fallT = c.fallT;
        premium = c.premium;
        trip_ = c.trip;
        tripFor = c.tripFor;
        firstBand = c.firstBand;
        delay = c.delay;
        emit Configured(c);
    }

    function _set(bool ok, bytes32 field, uint256 value) internal pure {
        if (!ok) revert BadConfig(field, value);
    }

    modifier onlyGovernor() {
        if (msg.sender != governor) revert Unauthorised();
        _;
    }

    modifier onlyGuards() {
        if (msg.sender != guardian && msg.sender != governor) revert Unauthorised();
        _;
    }

    /// @notice Open a feed, once.
    /// @param usual ppm, the volatility that scenarios are made for
    function register(uint256 u, uint256 usual) external onlyGovernor {
        if (u >= MAX_UNDERLYINGS || feeds[u].usual != 0) revert BadConfig("underlying", u);
        if (usual < 0.05e6 || usual > 5e6) revert BadConfig("usual", usual);
        feeds[u].usual = uint24(usual);
        emit Registered(u, usual);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                   PUBLICATION
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Accept a price. `time` must be newer than the last and no older than maxAge.
    /// @param spot 8 decimals @param confidence bps
    function publish(uint256 u, uint256 spot, uint256 time, uint256 confidence, bytes calldata signature) external {
        _authentic(keccak256(abi.encode(block.chainid, address(this), "spot", u, spot, time, confidence)), signature);
        if (spot == 0 || spot >= MAX_SPOT) revert BadMessage("spot", int256(spot));
        if (confidence > 1e4) revert BadMessage("confidence", int256(confidence));
        Feed memory f = feeds[u];
        if (f.usual == 0) revert Unknown(u, 0);
        if (f.frozen) revert FeedFrozen(u);
        _inOrder(time, f.time, maxAge);
        if (f.time == 0) {
            _begin(f, spot, time);
        } else {
            uint256 last = f.spot;
            if (f.probation) _endProbation(f, spot, last);
            (uint256 dt, uint256 live) = _advance(f, u, time);
            if (spot != last) _jump(f, spot, last, live, dt);
            if (Fixed.distance(spot * 1e4, f.slow) * WAD > trip_ * f.slow) _trip();
        }
        unchecked {
            ++f.round;
        }
        (f.spot, f.confidence) = (uint64(spot), uint16(confidence));
        _save(u, f);
        emit Published(u, spot, time, confidence);
    }

    /// @dev `feeds[u] = f`, packed by hand: the compiler would read each word again for every field of it.
    function _save(uint256 u, Feed memory f) internal {
        Feed storage to = feeds[u];
        uint256 price = uint256(f.sum) << 144 | uint256(f.confidence) << 128 | uint256(f.round) << 104
            | uint256(f.time) << 64 | f.spot;
        uint256 marks = uint256(f.eased) << 224 | uint256(f.peak) << 176 | uint256(f.variance) << 128
            | uint256(f.fast) << 64 | f.slow;
        uint256 state = uint256(f.stopped) << 104 | uint256(f.dead) << 64 | uint256(f.resumed) << 24 | f.usual;
        if (f.frozen) state |= 1 << 144;
        if (f.probation) state |= 1 << 152;
        assembly ("memory-safe") {
            sstore(to.slot, price)
            sstore(add(to.slot, 1), marks)
            sstore(add(to.slot, 2), state)
        }
    }

    function _begin(Feed memory f, uint256 spot, uint256 time) internal view {
        f.slow = f.fast = uint64(spot * 1e4);
        f.peak = uint48(uint256(f.usual) * f.usual / 1e3);
        f.eased = uint32(ONE);
        (f.time, f.resumed) = (uint40(time), uint40(block.timestamp));
    }

    /// @dev Let `f` stand at `time`: its price held until then. Seconds beyond maxAge are lost to everything that
    /// measures the market, and to the clock. Unchecked: times are below 2^40, values as wide as their storage.
    function _advance(Feed memory f, uint256 u, uint256 time) internal returns (uint256 dt, uint256 live) {
        unchecked {
            uint256 lost = _lost(f);
            if (lost != 0) (f.dead, f.resumed) = (uint40(f.dead + lost), uint40(block.timestamp));
            uint256 last = uint256(f.spot) * 1e4;
            (dt, live) = (time - f.time, _live(time - f.time));
            f.slow = uint64(ewma(f.slow, last, dt, slowT));
            f.fast = uint64(ewma(f.fast, last, dt, fastT));
            f.variance = uint48(_decay(f.variance, live, riseT));
            f.peak = uint48(_decay(f.peak, live, fallT));
            f.eased = uint32(_eased(f, live));
            if (time / window != f.time / window) steps[u].push(Step(f.time, f.spot, f.sum));
            f.sum += uint112(f.spot * dt);
            f.time = uint40(time);
        }
    }

    /// @dev The squared return of a message, annualised over riseT. After an outage only the share of it counts that
    /// fell into live time.
    function _jump(Feed memory f, uint256 spot, uint256 last, uint256 live, uint256 dt) internal view {
        unchecked {
            int256 r = Math.lnWad(int256(spot * WAD / last));
            uint256 variance = f.variance + uint256(r * r) * YEAR * live / (riseT * dt * 1e27);
            f.variance = uint48(Math.min(variance, type(uint48).max));
            if (f.variance > f.peak) f.peak = f.variance;
        }
    }

    /// @notice Accept a smile for one expiry: sigma(K) = atm + skew x + curv x^2, x = ln(K/F) / sqrt(t). All ppm.
    function publishSmile(
        uint256 u, uint256 expiry, uint256 atm, int256 skew, int256 curv, int256 rate, uint256 time,
        uint256 confidence, bytes calldata signature
    ) external {
        _authentic(
            keccak256(
                abi.encode(block.chainid, address(this), "smile", u, expiry, atm, skew, curv, rate, time, confidence)
            ),
            signature
        );
        _limited(atm != 0 && atm <= MAX_ATM, "atm", int256(atm));
        _limited(confidence <= 1e4, "confidence", int256(confidence));
        bool near = expiry % window == 0 && expiry <= type(uint40).max && expiry <= time + MAX_LEFT;
        _limited(near, "expiry", int256(expiry));
        _limited(int32(skew) == skew, "skew", skew);
        _limited(int32(curv) == curv, "curv", curv);
        _limited(rate <= MAX_RATE && rate >= -MAX_RATE, "rate", rate);
        if (feeds[u].time == 0) revert Unknown(u, 0);
        Smile memory s = smiles[u][expiry];
        _inOrder(time, s.time, smileAge);
        emit SmilePublished(u, expiry, atm, skew, curv, rate, time, confidence);
        if (s.time == 0) {
            s.smooth = uint64(atm * 1e12);
        } else {
            (uint256 smooth,) = _smooth(s, u, time);
            s.smooth = uint64(smooth);
            (skew, curv) = (_step(s.skew, skew), _step(s.curv, curv));
        }
        (s.atm, s.skew, s.curv, s.rate) = (uint32(atm), int32(skew), int32(curv), int32(rate));
        (s.time, s.confidence) = (uint40(time), uint16(confidence));
        smiles[u][expiry] = s;
    }

    function _limited(bool ok, bytes32 field, int256 value) internal pure {
        if (!ok) revert BadMessage(field, value);
    }

    /// @dev `to`, or as near as one message may come.
    function _step(int256 from, int256 to) internal view returns (int256) {
        int256 step = int256(smileStep);
        return to > from + step ? from + step : to < from - step ? from - step : to;
    }

    function _authentic(bytes32 digest, bytes calldata signature) internal view {
        address signer = ECDSA.tryRecoverCalldata(digest, signature);
        if (signer != publisher) revert BadSignature(signer);
    }

    function _inOrder(uint256 time, uint256 last, uint256 age) internal view {
        if (time <= last) revert OutOfOrder(time, last);
        if (time > block.timestamp) revert FromTheFuture(time, block.timestamp);
        unchecked {
            if (block.timestamp - time > age) revert TooOld(time, block.timestamp);
        }
    }

    /* ------------------------------------------------------------------------------------------------------
                                                MARKS AND VOLATILITY
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Exponentially weighted mean over `dt` seconds in which `price` was held: mean a + price (1 - a),
    /// a = exp(-dt / t). A semigroup in dt: poking changes nothing (up to 1 wei of rounding).
    function ewma(uint256 mean, uint256 price, uint256 dt, uint256 t) public pure returns (uint256) {
        if (mean == price) return mean;
        unchecked {
            uint256 a = uint256(Math.expWad(-int256(dt * WAD / t)));
            return (mean * a + price * (WAD - a)) / WAD;
        }
    }

    function _decay(uint256 x, uint256 dt, uint256 t) internal pure returns (uint256) {
        unchecked {
            return x * uint256(Math.expWad(-int256(dt * WAD / t))) / WAD;
        }
    }

    /// @dev Of `dt` seconds since a message, those in which it was not stale.
    function _live(uint256 dt) internal view returns (uint256) {
        return dt < maxAge ? dt : maxAge;
    }

    /// @dev wad, from a variance in 1e-9
    function _root(uint256 variance) internal pure returns (uint256) {
        return Math.sqrt(variance * 1e27);
    }

    /// @dev 1e-9: sigma over the usual volatility, at least 1 and at most 4.
    function _ratio(Feed memory f) internal pure returns (uint256) {
        unchecked {
            uint256 usual = f.usual;
            if (f.peak <= usual * usual / 1e3) return ONE;
            return Math.max(ONE, Math.min(_root(f.peak) / (usual * 1e3), 4 * ONE));
        }
    }

    /// @dev 1e-9: the old factor grown for `live` seconds, or the ratio where that is lower. `f.peak` is that of the
    /// end of those seconds. A semigroup, as the ratio only falls between messages.
    function _eased(Feed memory f, uint256 live) internal pure returns (uint256) {
        uint256 ratio = _ratio(f);
        return ratio <= f.eased ? ratio : Math.min(uint256(f.eased) * Pace.growth(live) / WAD, ratio);
    }

    /// @notice What volatility does to the scenarios of underlying `u`.
    /// @return sigma wad, synthetic volatility: the greatest realised over riseT, fading over 2 fallT
    /// @return atOnce wad, max(1, sigma / usual), for initial margin
    /// @return eased wad, the same, but rising by 1 % a minute at most, for maintenance
    function stress(uint256 u) external view returns (uint256 sigma, uint256 atOnce, uint256 eased) {
        Feed memory f = feed(u);
        uint256 live = _live(block.timestamp - f.time);
        f.peak = uint48(_decay(f.peak, live, fallT));
        return (_root(f.peak), _ratio(f) * 1e9, _eased(f, live) * 1e9);
    }

    /// @notice What margin needs of underlying `u`: `prices` and `stress` in one, without what this kind of price leaves
    /// out.
    /// @return spot wad
    /// @return mark wad, the mean that the price is held near; spot itself for `Price.Spot`
    /// @param stressed whether the factors are wanted
    /// @return factor wad, of the price moves of scenarios; 1 when it is not
    /// @return eased wad, the same for maintenance
    /// @return confidence bps
    function quote(uint256 u, Price mode, bool stressed)
        external
        view
        returns (uint256 spot, uint256 mark, uint256 factor, uint256 eased, uint256 confidence, bool stale)
    {
        Feed memory f = feed(u);
        if (f.time == 0) revert Unknown(u, 0);
        uint256 dt = block.timestamp - f.time;
        (spot, confidence, stale) = (uint256(f.spot) * 1e10, f.confidence, _stale(f));
        if (mode == Price.Spot) mark = spot;
        else if (mode == Price.Trigger) mark = ewma(uint256(f.slow) * 1e6, spot, dt, slowT);
        else mark = ewma(uint256(f.fast) * 1e6, spot, dt, fastT);
        if (!stressed) return (spot, mark, WAD, WAD, confidence, stale);
        uint256 live = _live(dt);
        f.peak = uint48(_decay(f.peak, live, fallT));
        eased = _eased(f, live) * 1e9;
        factor = mode == Price.Initial ? _ratio(f) * 1e9 : eased;
    }

    /// @return spot wad @return slow wad @return fast wad, both at block.timestamp @return confidence bps
    function prices(uint256 u)
        external
        view
        returns (uint256 spot, uint256 slow, uint256 fast, uint256 confidence, bool stale)
    {
        Feed memory f = feed(u);
        if (f.time == 0) revert Unknown(u, 0);
        spot = uint256(f.spot) * 1e10;
        uint256 dt = block.timestamp - f.time;
        slow = ewma(uint256(f.slow) * 1e6, spot, dt, slowT);
        fast = ewma(uint256(f.fast) * 1e6, spot, dt, fastT);
        confidence = f.confidence;
        stale = _stale(f);
    }

    /// @notice The smile as margin uses it: atm limited to smileBand around its own smooth value. A stale smile is
    /// no reason to stop: its atm gives way to realised volatility, within the same band, at confidence 0.
    /// @return atm wad @return skew wad @return curv wad @return rate wad per year @return confidence bps
    function smile(uint256 u, uint256 expiry)
        public
        view
        returns (uint256 atm, int256 skew, int256 curv, int256 rate, uint256 confidence)
    {
        Smile memory s = smiles[u][expiry];
        if (s.time == 0) revert Unknown(u, expiry);
        uint256 smooth;
        (smooth, atm) = _smooth(s, u, block.timestamp);
        atm = Fixed.clamp(atm, smooth * (WAD - smileBand) / WAD, smooth * (WAD + smileBand) / WAD);
        (skew, curv, rate) = (int256(s.skew) * 1e12, int256(s.curv) * 1e12, int256(s.rate) * 1e12);
        confidence = block.timestamp - s.time > smileAge ? 0 : s.confidence;
    }

    /// @notice `smile` and `observed` in one.
    function term(uint256 u, uint256 expiry)
        external
        view
        returns (uint256 atm, int256 skew, int256 curv, int256 rate, uint256 confidence, uint256 fixed_, uint256 open)
    {
        (atm, skew, curv, rate, confidence) = smile(u, expiry);
        (fixed_, open) = observed(u, expiry);
    }

    /// @dev The smooth atm at `t`, and what it is drawn to: the published atm, after smileAge that of `_fallback`.
    /// @return smooth wad @return atm wad
    function _smooth(Smile memory s, uint256 u, uint256 t) internal view returns (uint256 smooth, uint256 atm) {
        atm = uint256(s.atm) * 1e12;
        uint256 age = t - s.time;
        if (age <= smileAge) return (ewma(s.smooth, atm, age, smileT), atm);
        smooth = ewma(s.smooth, atm, smileAge, smileT);
        atm = _fallback(u, t, atm);
        smooth = ewma(smooth, atm, age - smileAge, smileT);
    }

    /// @dev premium x realised volatility, wad; not below the last published atm, and not above twice that.
    function _fallback(uint256 u, uint256 t, uint256 atm) internal view returns (uint256) {
        Feed memory f = feed(u);
        uint256 live = t > f.time ? _live(t - f.time) : 0;
        uint256 realised = _root(_decay(f.variance, live, riseT));
        return Fixed.clamp(realised * premium / WAD, atm, Math.min(2 * atm, MAX_ATM * 1e12));
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    LIVE CLOCK
    ------------------------------------------------------------------------------------------------------ */

    /// @dev Seconds since the message, or since the last outage ended, that are beyond maxAge and not yet in `dead`.
    function _lost(Feed memory f) internal view returns (uint256) {
        if (f.stopped != 0) return 0;
        unchecked {
            uint256 from = f.time + maxAge;
            if (from < f.resumed) from = f.resumed;
            return block.timestamp > from ? block.timestamp - from : 0;
        }
    }

    /// @notice Live seconds of underlying `u`: stands at level 3, while the feed is older than maxAge, while frozen.
    function clock(uint256 u) external view returns (uint256) {
        return _clock(feed(u));
    }

    function _clock(Feed memory f) internal view returns (uint256) {
        return (f.stopped != 0 ? f.stopped : block.timestamp) - f.dead - _lost(f);
    }

    /// @return live seconds, number of messages, block time since when it runs without an outage, standing still now
    function pulse(uint256 u) external view returns (uint256 live, uint256 round, uint256 resumed, bool stale) {
        Feed memory f = feed(u);
        return (_clock(f), f.round, f.resumed, _stale(f));
    }

    function _stale(Feed memory f) internal view returns (bool) {
        return f.stopped != 0 || block.timestamp - f.time > maxAge;
    }

    /// @dev The clock of `f` stands from now on.
    function _stop(Feed memory f) internal view {
        if (f.stopped != 0 || f.time == 0) return;
        (f.dead, f.stopped) = (uint40(f.dead + _lost(f)), uint40(block.timestamp));
    }

    /// @dev The clock of `f` runs again, unless something else holds it.
    function _resume(Feed memory f) internal view {
        if (f.stopped == 0 || f.frozen || breaker_.raised == 3) return;
        f.dead += uint40(block.timestamp) - f.stopped;
        (f.stopped, f.resumed) = (0, uint40(block.timestamp));
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    SETTLEMENT
    ------------------------------------------------------------------------------------------------------ */

    /// @notice How much of the settlement average of `expiry` is known.
    /// @return fixed_ wad, part of the settlement price that no longer moves
    /// @return open wad, weight of the price from now on: 1 before the window, 0 after expiry
    function observed(uint256 u, uint256 expiry) public view returns (uint256 fixed_, uint256 open) {
        if (block.timestamp + window <= expiry) return (0, WAD);
        uint256 until = block.timestamp < expiry ? block.timestamp : expiry;
        fixed_ = (_sumAt(u, until) - _sumAt(u, expiry - window)) * 1e10 / window;
        open = (expiry - until) * WAD / window;
    }

    /// @notice The average price over the last `window` seconds before expiry; final after the next message.
    /// @return wad
    function settlement(uint256 u, uint256 expiry) external view returns (uint256) {
        if (feeds[u].time < expiry) revert NotSettled(u, expiry);
        (uint256 price,) = observed(u, expiry);
        return price;
    }

    /// @dev Integral of the price, last message held. `t` is not before the feed's last message, or a multiple of
    /// window: then the last message before it left a step.
    function _sumAt(uint256 u, uint256 t) internal view returns (uint256) {
        Feed memory f = feed(u);
        if (t >= f.time) return f.sum + uint256(f.spot) * (t - f.time);
        Step[] storage all = steps[u];
        uint256 high = all.length; //           steps from here on are not before t
        uint256 low = high;
        for (uint256 jump = 1; low != 0 && all[low - 1].time >= t; jump <<= 1) {
            high = low - 1;
            low = low > jump ? low - jump : 0;
        }
        while (low < high) {
            uint256 middle = (low + high) >> 1;
            if (all[middle].time < t) low = middle + 1;
            else high = middle;
        }
        if (low == 0) revert NotSettled(u, t);
        Step memory s = all[low - 1];
        return s.sum + uint256(s.spot) * (t - s.time);
    }

    function feed(uint256 u) public view returns (Feed memory) {
        return feeds[u];
    }

    function rawSmile(uint256 u, uint256 expiry) external view returns (Smile memory) {
        return smiles[u][expiry];
    }

    /* ------------------------------------------------------------------------------------------------------
                                                     BREAKER
    ------------------------------------------------------------------------------------------------------ */

    /// @inheritdoc IBreaker
    function level() public view returns (uint8) {
        return block.timestamp < breaker_.tripUntil && breaker_.raised < 2 ? 2 : breaker_.raised;
    }

    /// @notice Block time since which, or from which on, the level is below 2: flags wait a grace from here.
    function calmSince() public view returns (uint256) {
        return Math.max(breaker_.lowered, breaker_.tripUntil);
    }

    /// @return the level @return calmSince
    function calm() external view returns (uint256, uint256) {
        return (level(), calmSince());
    }

    function breaker() public view returns (Breaker memory) {
        return breaker_;
    }

    /// @notice Raise the level. It is lowered through `schedule` only.
    function raise(uint8 to) external onlyGuards {
        if (to > 3) revert BadMessage("level", int256(uint256(to)));
        if (to <= breaker_.raised) revert NothingToDo();
        _setLevel(to);
    }

    /// @inheritdoc IBreaker
    function trip(uint8 to, bytes32 reason) external {
        if (!tripper[msg.sender]) revert Unauthorised();
        if (to > 3) revert BadMessage("level", int256(uint256(to)));
        if (to <= breaker_.raised) return;
        _setLevel(to);
        emit Tripped(to, reason);
    }

    /// @notice Let a contract raise the level; it is dismissed through `schedule` only.
    function addTripper(address who) external onlyGovernor {
        tripper[who] = true;
        emit Tripper(who, true);
    }

    function _setLevel(uint8 to) internal {
        uint8 was = breaker_.raised;
        if (to < 2 && was >= 2) breaker_.lowered = uint40(block.timestamp);
        if (to > was) for (uint256 low; low < 3; ++low) delete ready[Act.Lower][low]; // announced before it rose
        breaker_.raised = to;
        emit BreakerChanged(breaker_);
        if ((to == 3) == (was == 3)) return;
        for (uint256 u; u < MAX_UNDERLYINGS; ++u) {
            Feed memory f = feed(u);
            if (to == 3) _stop(f);
            else _resume(f);
            _save(u, f);
        }
    }

    function _trip() internal {
        breaker_.tripUntil = uint40(block.timestamp + tripFor);
        emit BreakerChanged(breaker_);
        emit Tripped(2, "jump");
    }

    /// @notice Take no more prices of a feed. What is distrusted is its last price: the slow mark stands in for it,
    /// also in the settlement average.
    function freeze(uint256 u) external onlyGuards {
        Feed memory f = feed(u);
        if (f.time == 0) revert Unknown(u, 0);
        if (f.frozen) revert NothingToDo();
        _stop(f);
        _advance(f, u, block.timestamp);
        f.spot = uint64(Math.max(1, f.slow / 1e4));
        f.frozen = true;
        _save(u, f);
        emit Frozen(u);
    }

    /// @dev Take prices again; the first is on probation.
    function _thaw(uint256 u) internal {
        Feed memory f = feed(u);
        if (!f.frozen) revert NothingToDo();
        (f.frozen, f.probation) = (false, true);
        delete ready[Act.Vouch][u];
        _resume(f);
        _save(u, f);
        emit Thawed(u);
    }

    function _endProbation(Feed memory f, uint256 spot, uint256 last) internal view {
        if (Fixed.distance(spot, last) * WAD > firstBand * last) revert TooFar(spot, last);
        f.probation = false;
    }

    /* ------------------------------------------------------------------------------------------------------
                                                     TIMELOCK
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Announce what is to loosen; only something that is tight now, so that nothing is announced in advance.
    function schedule(Act act, uint256 value) external onlyGovernor {
        bool tight = act == Act.Lower
            ? value < breaker_.raised
            : act == Act.Thaw
                ? feeds[value].frozen
                : act == Act.Vouch
                    ? feeds[value].probation
                    : act == Act.Dismiss
                        ? tripper[address(uint160(value))]
                        : value != 0 && value <= type(uint160).max && value != uint160(publisher);
        if (!tight) revert NothingToDo();
        ready[act][value] = block.timestamp + delay;
        emit Scheduled(act, value, block.timestamp + delay);
    }

    /// @notice The guardian may cancel too: that only tightens.
    function cancel(Act act, uint256 value) external onlyGuards {
        if (ready[act][value] == 0) revert NothingToDo();
        delete ready[act][value];
        emit Cancelled(act, value);
    }

    function execute(Act act, uint256 value) external onlyGovernor {
        uint256 from = ready[act][value];
        if (from == 0 || block.timestamp < from) revert NotReady(from, block.timestamp);
        delete ready[act][value];
        if (act == Act.Lower) {
            if (value >= breaker_.raised) revert NothingToDo();
            _setLevel(uint8(value));
        } else if (act == Act.Thaw) {
            _thaw(value);
        } else if (act == Act.Vouch) {
            if (!feeds[value].probation) revert NothingToDo();
            feeds[value].probation = false;
            emit Vouched(value);
        } else if (act == Act.Dismiss) {
            tripper[address(uint160(value))] = false;
            emit Tripper(address(uint160(value)), false);
        } else {
            publisher = address(uint160(value));
            emit Publisher(publisher);
        }
    }
}
