// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {SafeTransferLib} from "solady/src/utils/SafeTransferLib.sol";
import {SignatureCheckerLib} from "solady/src/utils/SignatureCheckerLib.sol";
import {Accounts} from "./Accounts.sol";
import {IAuctions} from "./interfaces/IAuctions.sol";
import {Fill, Health, Portfolio, Price} from "./interfaces/Types.sol";
import {Blob} from "./lib/Blob.sol";
import {Fixed} from "./lib/Fixed.sol";
import {Leg} from "./lib/Leg.sol";
import {Oracle} from "./Oracle.sol";
import {Params} from "./Params.sol";
import {Risk} from "./Risk.sol";

/// @title Clearing
/// @notice Holds all money and all positions. Tokens move in `deposit` and `withdraw` only; everything else
/// moves internal balances.
///
/// An account is owner address | sub-account number << 160; it needs no creation. Cash is US dollars in wad and
/// may be negative; collateral is counted in the token's own units. Every change of an account ends in one
/// `Changed` event with all that the account then holds.
///
/// A loss that nothing else covers is shared by all positive cash: `lossIndex` falls, and what an account holds is
/// worth cash * lossIndex / its own index, rounded down, from that moment on, whether it is touched or not.
contract Clearing is Accounts {
    using Leg for uint256;

    /* ------------------------------------------------------------------------------------------------------
                                                      TYPES
    ------------------------------------------------------------------------------------------------------ */

    event Listed(uint256 indexed asset, address token, uint256 unit);
    event Authorised(address indexed owner, address indexed operator, bool allowed);
    event Opened(uint256 indexed account);
    event Changed(uint256 indexed account, uint256 changeId, int256 cash, uint256[] legs, uint256[] collateral);
    event Deposited(uint256 indexed account, uint256 asset, uint256 amount);
    event Withdrawn(uint256 indexed account, uint256 asset, uint256 amount, address to);
    event Traded(uint256 indexed a, uint256 indexed b, uint256[] legs, int256 premium);
    event Settled(uint256 indexed account, uint256 series, int256 size, uint256 price, int256 paid);
    event Sliced(uint256 indexed account, uint256 indexed bidder, uint256 fraction, int256 paid, int256 toFund);
    event FundChanged(uint256 fund, uint256 reserve);
    event Closed(uint256 indexed account, uint256 indexed counterparty, uint256 series, int256 size, int256 paid);
    event Socialised(uint256 indexed account, uint256 amount, uint256 index);
    event Insolvent(uint256 indexed account, uint256 mm, uint256 total);

    error Unauthorised();
    error BadSignature(uint256 account, bytes32 digest);
    error Used(bytes32 digest);
    error Expired(uint256 deadline, uint256 now_);
    error TooManyLegs(uint256 account, uint256 most);
    error BadLeg(uint256 leg);
    error SelfTrade(uint256 account);
    error BadAsset(uint256 asset, uint256 count);
    error UnderMargin(uint256 account, int256 equity, uint256 im);
    error NotReduced(uint256 account, int256 equity, uint256 im);
    error Level(uint256 level);
    error Stale(uint256 account);
    error Flagged(uint256 account);
    error Insufficient(uint256 asset, uint256 amount, int256 held); // held: native units, of cash usd
    error NothingToDo(uint256 account);
    error Reentrant();
    error Gated(uint256 insolvent, uint256 insurance);
    error TooSmall(uint256 account, uint256 mm, uint256 least);
    error NotOpposite(uint256 account, uint256 counterparty, uint256 series);

    /* ------------------------------------------------------------------------------------------------------
                                                     STORAGE
    ------------------------------------------------------------------------------------------------------ */

    uint256 public constant LOT = 1e15; //            traded sizes are multiples of it; slices need not be
    uint256 public constant MIN_INDEX = 1e9; //       wad; below it a cent would be lost to rounding
    bytes32 private constant LOCK = keccak256("keeper.clearing.lock");

    Oracle public immutable oracle;
    Params public immutable params;
    Risk public immutable risk;
    address public immutable governor;
    mapping(address who => bool) public engine; //    the liquidation contracts, set once
    mapping(uint256 series => uint256) public openInterest; // contracts, wad, sum of longs
    mapping(address owner => mapping(address operator => bool)) public authorised;
    mapping(bytes32 digest => bool) public used; //   signed trades
    uint128 public fund; //                           usd, insurance fund
    uint128 public reserve; //                        usd, gamma reserve: pays for negative equity, never for a discount
    uint128 public positiveCash; //                   usd, sum of positive cash of all accounts, and at most a wei for
    //                                                every change of an account since a loss was shared
    uint128 public insolvent; //                      usd, sum of `insolventOf`
    mapping(uint256 account => uint256) public insolventOf; // usd, requirement of an account in auction with E < 0

    constructor(Oracle oracle_, Params params_, Risk risk_, address cash) {
        (oracle, params, risk, governor) = (oracle_, params_, risk_, msg.sender);
        _list(cash);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    SET-UP
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Name the liquidation contracts, once and for all; the Liquidator first.
    function setEngines(address[] calldata all) external {
        if (msg.sender != governor || liquidator != address(0)) revert Unauthorised();
        if (!oracle.tripper(address(this))) revert Unauthorised(); // it must be able to stop
        for (uint256 i; i < all.length; ++i) engine[all[i]] = true;
        liquidator = all[0];
    }

    /// @notice Add a collateral asset; its number must be in the parameter sets that are to count it.
    function list(address token) external {
        if (msg.sender != governor) revert Unauthorised();
        _list(token);
    }

    function _list(address token) internal {
        (bool ok, bytes memory data) = token.staticcall(abi.encodeWithSignature("decimals()"));
        require(ok && data.length == 32, "decimals");
        uint256 unit = 10 ** abi.decode(data, (uint8));
        require(unit <= 1e18 && assetCount < 8, "asset");
        emit Listed(assetCount, token, unit);
        assetAt[assetCount++] = Asset(token, uint96(unit));
    }

    /// @notice Let `operator` act for all accounts of the caller.
    function authorise(address operator, bool allowed) external {
        authorised[msg.sender][operator] = allowed;
        emit Authorised(msg.sender, operator, allowed);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    MODIFIERS
    ------------------------------------------------------------------------------------------------------ */

    modifier locked() {
        bytes32 lock = LOCK;
        bool taken;
        assembly ("memory-safe") {
            taken := tload(lock)
            tstore(lock, 1)
        }
        if (taken) revert Reentrant();
        _;
        assembly ("memory-safe") {
            tstore(lock, 0)
        }
    }

    modifier onlyEngine() {
        if (!engine[msg.sender]) revert Unauthorised();
        _;
    }

    modifier onlyLiquidator() {
        if (msg.sender != liquidator) revert Unauthorised();
        _;
    }

    function _flagged(uint256 account) internal view returns (bool) {
        address who = liquidator;
        return who != address(0) && IAuctions(who).runs(account);
    }

    function mayAct(uint256 account, address who) public view returns (bool) {
        address owner = address(uint160(account));
        return who == owner || authorised[owner][who];
    }

    /* ------------------------------------------------------------------------------------------------------
                                              DEPOSIT AND WITHDRAW
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Never blocked. Only into accounts the caller may act for, so that nobody can push dust.
    /// @param amount native units of the asset
    function deposit(uint256 account, uint256 asset, uint256 amount) external locked {
        if (!mayAct(account, msg.sender)) revert Unauthorised();
        Asset memory a = _asset(asset);
        if (asset == 0) _addCash(account, int256(amount * (1e18 / a.unit)));
        else _addCollateral(account, asset, int256(amount));
        _changed(account);
        emit Deposited(account, asset, amount);
        SafeTransferLib.safeTransferFrom(a.token, msg.sender, address(this), amount);
    }

    /// @notice Leaves the account with its initial margin. Cash stays where it is while insolvent accounts require
    /// more than the insurance holds: nobody runs away from a loss that is about to be shared.
    /// @param amount native units of the asset; what the account holds below one unit stays
    function withdraw(uint256 account, uint256 asset, uint256 amount, address to) external locked {
        if (!mayAct(account, msg.sender)) revert Unauthorised();
        Account storage a = accounts[account];
        if (_flagged(account)) revert Flagged(account);
        if (oracle.level() != 0 && a.legs != 0) revert Level(oracle.level());
        if (insolvent > insurance() && (asset == 0 || a.legs != 0)) revert Gated(insolvent, insurance());
        Asset memory x = _asset(asset);
        if (asset == 0) {
            int256 value = int256(amount * (1e18 / x.unit));
            if (_cash(account) < value) revert Insufficient(asset, amount, _cash(account));
            _addCash(account, -value);
        } else {
            _addCollateral(account, asset, -int256(amount));
        }
        _changed(account);
        _requireInitialMargin(account);
        emit Withdrawn(account, asset, amount, to);
        SafeTransferLib.safeTransfer(x.token, to, amount);
    }

    function _asset(uint256 asset) internal view returns (Asset memory) {
        if (asset >= assetCount) revert BadAsset(asset, assetCount);
        return assetAt[asset];
    }

    /* ------------------------------------------------------------------------------------------------------
                                                TRADE AND SETTLE
    ------------------------------------------------------------------------------------------------------ */

    /// @notice `a` receives `package`, one word per leg with signed sizes, and pays `premium` to `b`.
    /// @param premium usd, may be negative
    /// @param salt makes equal trades differ
    /// @param signature of b's owner over `tradeDigest`; empty when the caller may act for b
    function trade(
        uint256 a, uint256 b, uint256[] calldata package, int256 premium, uint256 deadline, uint256 salt,
        bytes calldata signature
    ) external locked {
        if (!mayAct(a, msg.sender)) revert Unauthorised();
        if (block.timestamp > deadline) revert Expired(deadline, block.timestamp);
        if (a == b) revert SelfTrade(a);
        if (!mayAct(b, msg.sender)) _consume(b, tradeDigest(a, b, package, premium, deadline, salt), signature);
        (Portfolio memory beforeA, Portfolio memory beforeB) = (portfolio(a), portfolio(b));
        for (uint256 i; i < package.length; ++i) {
            uint256 leg = package[i];
            _checkLeg(leg);
            _addLeg(a, leg);
            _addLeg(b, leg.withSize(-leg.size()));
        }
        _addCash(a, -premium);
        _addCash(b, premium);
        _changed(a);
        _changed(b);
        _requireSound(a, beforeA);
        _requireSound(b, beforeB);
        emit Traded(a, b, package, premium);
    }

    function tradeDigest(
        uint256 a, uint256 b, uint256[] calldata package, int256 premium, uint256 deadline, uint256 salt
    ) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), "trade", a, b, package, premium, deadline, salt));
    }

    function _consume(uint256 account, bytes32 digest, bytes calldata signature) internal {
        if (used[digest]) revert Used(digest);
        used[digest] = true;
        if (!SignatureCheckerLib.isValidSignatureNowCalldata(address(uint160(account)), digest, signature)) {
            revert BadSignature(account, digest);
        }
    }

    function _checkLeg(uint256 leg) internal view {
        int256 n = leg.size();
        bool ok = n != 0 && n % int256(LOT) == 0 && leg.strike() != 0 && (leg >> 192) & 0xff < 2 && leg >> 248 == 0
            && leg.expiry() > block.timestamp + oracle.window();
        if (!ok) revert BadLeg(leg);
        oracle.smile(leg.underlying(), leg.expiry()); // reverts for a series that nobody prices
    }

    /// @notice Pay out every expired leg of an account at its settlement price. Anyone may call, at any level.
    function settle(uint256 account) external locked {
        uint256[MAX_LEGS] storage held = legs[account];
        uint256 done;
        for (uint256 i = accounts[account].legs; i != 0;) {
            uint256 leg = held[--i];
            if (leg.expiry() > block.timestamp) continue;
            uint256 price = oracle.settlement(leg.underlying(), leg.expiry());
            (int256 s, int256 k) = (int256(price), int256(leg.strike()));
            int256 payoff = leg.isCall() ? s - k : k - s;
            int256 paid = payoff > 0 ? Fixed.mulDown(leg.size(), payoff) : int256(0);
            _addLeg(account, leg.withSize(-leg.size()));
            _addCash(account, paid);
            emit Settled(account, leg.series(), leg.size(), price, paid);
            ++done;
        }
        if (done == 0) revert NothingToDo(account);
        _changed(account);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                   LIQUIDATION
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Move a slice of everything an account holds to the bidder. Short legs round away from zero, everything
    /// else down; the bidder must then have his initial margin.
    function slice(Fill calldata x) external onlyEngine locked {
        (uint256 account, uint256 bidder) = (x.account, x.bidder);
        for (uint256 i = accounts[account].legs; i != 0;) {
            uint256 leg = legs[account][--i];
            int256 n = x.fraction == 1e18 ? leg.size() : Fixed.mulDown(leg.size(), int256(x.fraction));
            if (n == 0) continue;
            _addLeg(account, leg.withSize(-n));
            _addLeg(bidder, leg.withSize(n));
        }
        for (uint256 asset = 1; asset < assetCount; ++asset) {
            uint256 amount = collateral[account][asset] * x.fraction / 1e18;
            if (amount == 0) continue;
            _addCollateral(account, asset, -int256(amount));
            _addCollateral(bidder, asset, int256(amount));
        }
        int256 cash = _cash(account);
        int256 moved = x.fraction == 1e18 ? cash : Fixed.mulDown(cash, int256(x.fraction));
        _addCash(account, x.paid + int256(x.fromFund) - moved);
        _addCash(bidder, moved - x.paid - int256(x.fee));
        int256 toFund = int256(x.fee) - int256(x.toReserve) - int256(x.fromFund);
        _addFund(toFund, int256(x.toReserve));
        _changed(account);
        _changed(bidder);
        _requireInitialMargin(bidder);
        emit Sliced(account, bidder, x.fraction, x.paid, toFund);
    }

    /// @notice Close a part of two opposite positions in one series against each other.
    /// @param leg series, and what is taken off `account`: negative where it is short
    /// @param paid usd, by the counterparty to the account; negative: the account pays
    function close(uint256 account, uint256 counterparty, uint256 leg, int256 paid) external onlyEngine locked {
        int256 n = leg.size();
        (int256 a, int256 b) = (sizeOf(account, leg.series()), sizeOf(counterparty, leg.series()));
        bool fits = n > 0 ? a >= n && b <= -n : n < 0 && a <= n && b >= -n;
        if (!fits) revert NotOpposite(account, counterparty, leg.series());
        _addLeg(account, leg.withSize(-n));
        _addLeg(counterparty, leg);
        _addCash(account, paid);
        _addCash(counterparty, -paid);
        _changed(account);
        _changed(counterparty);
        emit Closed(account, counterparty, leg.series(), n, paid);
    }

    /// @notice An account receives long legs from a provider, who must then have his initial margin, and pays for them.
    function cover(uint256 account, uint256 provider, uint256[] calldata package, uint256 premium)
        external
        onlyEngine
        locked
    {
        for (uint256 i; i < package.length; ++i) {
            uint256 leg = package[i];
            _checkLeg(leg);
            _addLeg(account, leg);
            _addLeg(provider, leg.withSize(-leg.size()));
        }
        _addCash(account, -int256(premium));
        _addCash(provider, int256(premium));
        _changed(account);
        _changed(provider);
        _requireInitialMargin(provider);
        emit Traded(account, provider, package, int256(premium));
    }

    /// @notice Move cash between accounts: a bond, a compensation. `checked`: the payer must keep his initial margin.
    function pay(uint256 from, uint256 to, uint256 amount, bool checked) external onlyEngine locked {
        _addCash(from, -int256(amount));
        _addCash(to, int256(amount));
        _changed(from);
        _changed(to);
        if (checked) _requireInitialMargin(from);
    }

    /// @notice The insurance pays for an account.
    function insure(uint256 account, uint256 fromFund, uint256 fromReserve) external onlyEngine locked {
        _addFund(-int256(fromFund), -int256(fromReserve));
        _addCash(account, int256(fromFund + fromReserve));
        _changed(account);
    }

    /// @notice An account pays into the fund: a bond that is lost.
    function forfeit(uint256 account, uint256 amount) external onlyEngine locked {
        _addCash(account, -int256(amount));
        _addFund(int256(amount), 0);
        _changed(account);
    }

    /// @notice Make up a deficit from the cash of all others. When it cannot be, trading stops and nothing is paid.
    /// @return done false: the breaker is at level 3
    function socialise(uint256 account, uint256 amount) external onlyEngine locked returns (bool done) {
        int256 cash = _cash(account);
        uint256 others = positiveCash - (cash > 0 ? uint256(cash) : 0);
        uint256 index = amount < others ? uint256(lossIndex) * (others - amount) / others : 0;
        if (index < MIN_INDEX) {
            oracle.trip(3, "deficit");
            return false;
        }
        int256 after_ = cash + int256(amount);
        require(int128(after_) == after_, "cash");
        lossIndex = uint64(index);
        (accounts[account].cash, accounts[account].index) = (int128(after_), uint64(index));
        positiveCash = uint128(others - amount + (after_ > 0 ? uint256(after_) : 0));
        emit Socialised(account, amount, index);
        _changed(account);
        return true;
    }

    /// @notice Keep the sum of what insolvent accounts in auction require; above the insurance, no new risk.
    function note(uint256 account, uint256 mm) external onlyLiquidator {
        uint256 was = insolventOf[account];
        if (was == mm) return;
        insolventOf[account] = mm;
        insolvent = uint128(insolvent + mm - was);
        emit Insolvent(account, mm, insolvent);
        if (insolvent > insurance()) oracle.trip(1, "insolvent");
    }

    /// @return usd, both tranches of the insurance
    function insurance() public view returns (uint256) {
        return uint256(fund) + reserve;
    }

    /// @notice Give cash to the insurance fund, or to its gamma reserve.
    function fundFrom(uint256 account, uint256 amount, bool toReserve) external locked {
        if (!mayAct(account, msg.sender)) revert Unauthorised();
        _addCash(account, -int256(amount));
        _addFund(toReserve ? int256(0) : int256(amount), toReserve ? int256(amount) : int256(0));
        _changed(account);
        _requireInitialMargin(account);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                     MARGIN
    ------------------------------------------------------------------------------------------------------ */

    /// @dev The account has its initial margin at a live price.
    function _requireInitialMargin(uint256 account) internal view {
        Portfolio memory p = portfolio(account);
        if (_empty(p)) {
            if (p.cash < 0) revert UnderMargin(account, p.cash, 0);
            return;
        }
        Health memory h = risk.assess(p, params.current(), Price.Initial, risk.ALL());
        if (h.stale) revert Stale(account);
        if (h.equity < int256(h.im)) revert UnderMargin(account, h.equity, h.im);
    }

    /// @dev The account has its initial margin, or the trade reduced every leg it touched and raised E - Q_im.
    function _requireSound(uint256 account, Portfolio memory was) internal view {
        Portfolio memory p = portfolio(account);
        uint256 version = params.current();
        Health memory h = risk.assess(p, version, Price.Initial, risk.ALL());
        bool restricted = oracle.level() != 0 || _flagged(account) || h.stale;
        if (!restricted && h.equity >= int256(h.im)) return _requireSize(account, was, p, h.mm, version);
        if (!_reduced(was.legs, p.legs)) revert NotReduced(account, h.equity, h.im);
        Health memory old = risk.assess(was, version, Price.Initial, risk.ALL());
        if (h.equity - int256(h.im) < old.equity - int256(old.im)) revert UnderMargin(account, h.equity, h.im);
    }

    /// @dev What is worth less than its liquidation must not be opened; it may always be reduced.
    function _requireSize(uint256 account, Portfolio memory was, Portfolio memory p, uint256 mm, uint256 version)
        internal
        view
    {
        uint256 least = Blob.auction(params.setAt(version)).minAccount;
        if (mm < least && p.legs.length != 0 && !_reduced(was.legs, p.legs)) revert TooSmall(account, mm, least);
    }

    /// @dev No leg of `now_` is new, larger, or on the other side.
    function _reduced(uint256[] memory was, uint256[] memory now_) internal pure returns (bool) {
        for (uint256 i; i < now_.length; ++i) {
            uint256 j;
            while (j < was.length && was[j].series() != now_[i].series()) ++j;
            if (j == was.length) return false;
            (int256 n, int256 m) = (now_[i].size(), was[j].size());
            if ((n < 0) != (m < 0) || Fixed.abs(n) > Fixed.abs(m)) return false;
        }
        return true;
    }

    function _empty(Portfolio memory p) internal pure returns (bool) {
        if (p.legs.length != 0) return false;
        for (uint256 a = 1; a < p.collateral.length; ++a) {
            if (p.collateral[a] != 0) return false;
        }
        return true;
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    BALANCES
    ------------------------------------------------------------------------------------------------------ */

    /// @dev What the cash of an account is worth after the losses that were shared since it last changed.
    function _cash(uint256 account) internal view returns (int256) {
        (int256 cash, uint256 index) = (accounts[account].cash, accounts[account].index);
        if (cash <= 0 || index == lossIndex) return cash;
        return cash * int256(uint256(lossIndex)) / int256(index);
    }

    function _addCash(uint256 account, int256 amount) internal {
        Account storage a = accounts[account];
        int256 was = _cash(account);
        int256 is_ = was + amount;
        require(int128(is_) == is_, "cash");
        (a.cash, a.index) = (int128(is_), lossIndex);
        int256 change = (is_ > 0 ? is_ : int256(0)) - (was > 0 ? was : int256(0));
        if (change != 0) positiveCash = uint128(uint256(int256(uint256(positiveCash)) + change));
    }

    function _addFund(int256 toFund, int256 toReserve) internal {
        if (toFund == 0 && toReserve == 0) return;
        (int256 f, int256 r) = (int256(uint256(fund)) + toFund, int256(uint256(reserve)) + toReserve);
        require(f >= 0 && r >= 0 && int128(f) == f && int128(r) == r, "fund");
        (fund, reserve) = (uint128(uint256(f)), uint128(uint256(r)));
        emit FundChanged(fund, reserve);
        if (insolvent > insurance()) oracle.trip(1, "insolvent");
    }

    function _addCollateral(uint256 account, uint256 asset, int256 amount) internal {
        int256 held = int256(collateral[account][asset]) + amount;
        if (held < 0) revert Insufficient(asset, uint256(-amount), held - amount);
        collateral[account][asset] = uint256(held);
        uint8 bit = uint8(1 << asset);
        if (held == 0) accounts[account].assets &= ~bit;
        else accounts[account].assets |= bit;
    }

    /// @dev Add a signed size to a series: opens, grows, shrinks, turns or removes the leg.
    function _addLeg(uint256 account, uint256 leg) internal {
        uint256[MAX_LEGS] storage held = legs[account];
        uint256 count = accounts[account].legs;
        uint256 series = leg.series();
        uint256 i;
        while (i < count && held[i].series() != series) ++i;
        int256 was = i == count ? int256(0) : held[i].size();
        int256 is_ = was + leg.size();
        require(int128(is_) == is_, "size");
        if (is_ == 0) {
            uint256 last = held[count - 1];
            if (i != count - 1) held[i] = last;
            delete held[count - 1];
            accounts[account].legs = uint8(count - 1);
        } else {
            if (i == count) {
                if (count == MAX_LEGS) revert TooManyLegs(account, MAX_LEGS);
                accounts[account].legs = uint8(count + 1);
            }
            held[i] = leg.withSize(is_);
        }
        int256 change = (is_ > 0 ? is_ : int256(0)) - (was > 0 ? was : int256(0));
        if (change != 0) openInterest[series] = uint256(int256(openInterest[series]) + change);
    }

    function _changed(uint256 account) internal {
        Account storage a = accounts[account];
        int256 cash = _cash(account);
        if (a.index != lossIndex) (a.cash, a.index) = (int128(cash), lossIndex); // only collateral has changed
        uint256 id = ++a.changeId;
        if (id == 1) emit Opened(account);
        uint256[] memory amounts = new uint256[](assetCount);
        for (uint256 asset = 1; asset < amounts.length; ++asset) amounts[asset] = collateral[account][asset];
        emit Changed(account, id, cash, _legs(account), amounts);
    }

    function _legs(uint256 account) internal view returns (uint256[] memory held) {
        uint256[MAX_LEGS] storage from = legs[account];
        held = new uint256[](accounts[account].legs);
        assembly ("memory-safe") {
            let slot := from.slot
            let end := add(slot, mload(held))
            for { let to := add(held, 0x20) } lt(slot, end) { slot := add(slot, 1) } {
                mstore(to, sload(slot))
                to := add(to, 0x20)
            }
        }
    }

    /* ------------------------------------------------------------------------------------------------------
                                                      READS
    ------------------------------------------------------------------------------------------------------ */

    /// @notice What an account holds, as `Risk` takes it: collateral in wad units.
    function portfolio(uint256 account) public view returns (Portfolio memory p) {
        p.cash = _cash(account);
        p.legs = _legs(account);
        p.collateral = new uint256[](assetCount);
        uint256 holds = accounts[account].assets;
        for (uint256 a = 1; a < p.collateral.length; ++a) {
            if (holds & (1 << a) != 0) p.collateral[a] = collateral[account][a] * 1e18 / assetAt[a].unit;
        }
    }

    /// @notice `Risk.standing` of an account.
    function standing(uint256 account, Price mode, uint256 scenario) external view returns (Health memory, uint256) {
        return risk.standing(portfolio(account), mode, scenario);
    }

    /// @notice `Risk.assess` of an account.
    function assess(uint256 account, uint256 version, Price mode, uint256 scenario)
        external
        view
        returns (Health memory)
    {
        return risk.assess(portfolio(account), version, mode, scenario);
    }

    /// @notice Health as it decides now, every scenario; see `Risk.standing`.
    function health(uint256 account, Price mode) external view returns (Health memory h) {
        (h,) = risk.standing(portfolio(account), mode, type(uint256).max);
    }

    /// @notice Health in one named scenario, a byte per underlying.
    function healthAt(uint256 account, Price mode, uint256 scenario) external view returns (Health memory h) {
        (h,) = risk.standing(portfolio(account), mode, scenario);
    }

    /// @notice `cash` and `index` as they are now.
    function accountOf(uint256 account) external view returns (Account memory a) {
        a = accounts[account];
        (a.cash, a.index) = (int128(_cash(account)), lossIndex);
    }

    /// @return wad, negative when short
    function sizeOf(uint256 account, uint256 series) public view returns (int256) {
        uint256[MAX_LEGS] storage held = legs[account];
        for (uint256 i; i < accounts[account].legs; ++i) {
            if (held[i].series() == series) return held[i].size();
        }
        return 0;
    }

    function collateralOf(uint256 account, uint256 asset) external view returns (uint256) {
        return collateral[account][asset];
    }
}
