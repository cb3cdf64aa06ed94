// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {SafeTransferLib} from "solady/src/utils/SafeTransferLib.sol";
import {SignatureCheckerLib} from "solady/src/utils/SignatureCheckerLib.sol";
import {Health, Portfolio, Price} from "./interfaces/Types.sol";
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
contract Clearing {
    using Leg for uint256;

    /* ------------------------------------------------------------------------------------------------------
                                                      TYPES
    ------------------------------------------------------------------------------------------------------ */

    struct Account {
        int128 cash; //       usd
        uint64 index; //      wad, loss index at the last change of cash; 0 means 1
        uint40 changeId; //   number of changes
        uint8 legs; //        number of legs
        uint8 assets; //      bit a set: holds asset a
        bool flagged; //      an auction runs: only deposits and reductions
    }

    struct Asset {
        address token;
        uint96 unit; //       10^decimals
    }

    event Listed(uint256 indexed asset, address token, uint256 unit);
    event Authorised(address indexed owner, address indexed operator, bool allowed);
    event Changed(uint256 indexed account, uint256 changeId, int256 cash, uint256[] legs, uint256[] collateral);
    event Deposited(uint256 indexed account, uint256 asset, uint256 amount);
    event Withdrawn(uint256 indexed account, uint256 asset, uint256 amount, address to);
    event Traded(uint256 indexed a, uint256 indexed b, uint256[] legs, int256 premium);
    event Settled(uint256 indexed account, uint256 series, int256 size, uint256 price, int256 paid);
    event Sliced(uint256 indexed account, uint256 indexed bidder, uint256 fraction, int256 paid, int256 toFund);
    event FundChanged(uint256 fund);

    error Unauthorised();
    error BadSignature();
    error Used(bytes32 digest);
    error Expired(uint256 deadline);
    error TooManyLegs(uint256 account);
    error BadLeg(uint256 leg);
    error SelfTrade(uint256 account);
    error BadAsset(uint256 asset);
    error UnderMargin(uint256 account, int256 equity, uint256 im);
    error NotReduced(uint256 account);
    error Level(uint256 level);
    error Stale(uint256 account);
    error Flagged(uint256 account);
    error Insufficient(uint256 asset, uint256 amount);
    error NothingToDo();
    error Reentrant();

    /* ------------------------------------------------------------------------------------------------------
                                                     STORAGE
    ------------------------------------------------------------------------------------------------------ */

    uint256 public constant MAX_LEGS = 32;
    uint256 public constant LOT = 1e15; //            traded sizes are multiples of it; slices need not be
    bytes32 private constant LOCK = keccak256("keeper.clearing.lock");

    Oracle public immutable oracle;
    Params public immutable params;
    Risk public immutable risk;
    address public immutable governor;
    address public liquidator; //                     set once

    Asset[] internal assets; //                       0 is cash
    mapping(uint256 account => Account) internal accounts;
    mapping(uint256 account => uint256[MAX_LEGS]) internal legs;
    mapping(uint256 account => mapping(uint256 asset => uint256)) internal collateral; // native units
    mapping(uint256 series => uint256) public openInterest; // contracts, wad, sum of longs
    mapping(address owner => mapping(address operator => bool)) public authorised;
    mapping(bytes32 digest => bool) public used; //   signed trades
    uint128 public fund; //                           usd, insurance fund
    uint128 public positiveCash; //                   usd, sum of positive cash of all accounts

    constructor(Oracle oracle_, Params params_, Risk risk_, address cash) {
        (oracle, params, risk, governor) = (oracle_, params_, risk_, msg.sender);
        _list(cash);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    SET-UP
    ------------------------------------------------------------------------------------------------------ */

    function setLiquidator(address to) external {
        if (msg.sender != governor || liquidator != address(0)) revert Unauthorised();
        liquidator = to;
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
        require(unit <= 1e18 && assets.length < 8, "asset");
        emit Listed(assets.length, token, unit);
        assets.push(Asset(token, uint96(unit)));
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

    modifier onlyLiquidator() {
        if (msg.sender != liquidator) revert Unauthorised();
        _;
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

    /// @notice Leaves the account with its initial margin.
    /// @param amount native units of the asset; what the account holds below one unit stays
    function withdraw(uint256 account, uint256 asset, uint256 amount, address to) external locked {
        if (!mayAct(account, msg.sender)) revert Unauthorised();
        Account storage a = accounts[account];
        if (a.flagged) revert Flagged(account);
        if (oracle.level() != 0 && a.legs != 0) revert Level(oracle.level());
        Asset memory x = _asset(asset);
        if (asset == 0) {
            int256 value = int256(amount * (1e18 / x.unit));
            if (a.cash < value) revert Insufficient(asset, amount);
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
        if (asset >= assets.length) revert BadAsset(asset);
        return assets[asset];
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
        if (block.timestamp > deadline) revert Expired(deadline);
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
            revert BadSignature();
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
        if (done == 0) revert NothingToDo();
        _changed(account);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                   LIQUIDATION
    ------------------------------------------------------------------------------------------------------ */

    function setFlag(uint256 account, bool flagged) external onlyLiquidator {
        accounts[account].flagged = flagged;
    }

    /// @notice Move `fraction` of everything an account holds to the bidder, who pays `paid` (negative: receives)
    /// and `fee`. The fund pays `fromFund`. Short legs round away from zero, everything else down.
    /// @param fraction wad, WAD moves all exactly
    function slice(uint256 account, uint256 bidder, uint256 fraction, int256 paid, uint256 fee, uint256 fromFund)
        external
        onlyLiquidator
        locked
    {
        for (uint256 i = accounts[account].legs; i != 0;) {
            uint256 leg = legs[account][--i];
            int256 n = fraction == 1e18 ? leg.size() : Fixed.mulDown(leg.size(), int256(fraction));
            if (n == 0) continue;
            _addLeg(account, leg.withSize(-n));
            _addLeg(bidder, leg.withSize(n));
        }
        for (uint256 asset = 1; asset < assets.length; ++asset) {
            uint256 amount = collateral[account][asset] * fraction / 1e18;
            if (amount == 0) continue;
            _addCollateral(account, asset, -int256(amount));
            _addCollateral(bidder, asset, int256(amount));
        }
        int256 cash = accounts[account].cash;
        int256 moved = fraction == 1e18 ? cash : Fixed.mulDown(cash, int256(fraction));
        _addCash(account, paid + int256(fromFund) - moved);
        _addCash(bidder, moved - paid - int256(fee));
        int256 toFund = int256(fee) - int256(fromFund);
        if (toFund != 0) _addFund(toFund);
        _changed(account);
        _changed(bidder);
        _requireInitialMargin(bidder);
        emit Sliced(account, bidder, fraction, paid, toFund);
    }

    /// @notice Give cash to the insurance fund.
    function fundFrom(uint256 account, uint256 amount) external locked {
        if (!mayAct(account, msg.sender)) revert Unauthorised();
        _addCash(account, -int256(amount));
        _addFund(int256(amount));
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
        bool restricted = oracle.level() != 0 || accounts[account].flagged || h.stale;
        if (!restricted && h.equity >= int256(h.im)) return;
        if (!_reduced(was.legs, p.legs)) revert NotReduced(account);
        Health memory old = risk.assess(was, version, Price.Initial, risk.ALL());
        if (h.equity - int256(h.im) < old.equity - int256(old.im)) revert UnderMargin(account, h.equity, h.im);
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

    function _addCash(uint256 account, int256 amount) internal {
        Account storage a = accounts[account];
        int256 was = a.cash;
        int256 is_ = was + amount;
        require(int128(is_) == is_, "cash");
        a.cash = int128(is_);
        int256 change = (is_ > 0 ? is_ : int256(0)) - (was > 0 ? was : int256(0));
        if (change != 0) positiveCash = uint128(uint256(int256(uint256(positiveCash)) + change));
    }

    function _addFund(int256 amount) internal {
        int256 is_ = int256(uint256(fund)) + amount;
        require(is_ >= 0 && is_ <= int256(uint256(type(uint128).max)), "fund");
        fund = uint128(uint256(is_));
        emit FundChanged(fund);
    }

    function _addCollateral(uint256 account, uint256 asset, int256 amount) internal {
        int256 held = int256(collateral[account][asset]) + amount;
        if (held < 0) revert Insufficient(asset, uint256(-amount));
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
                if (count == MAX_LEGS) revert TooManyLegs(account);
                accounts[account].legs = uint8(count + 1);
            }
            held[i] = leg.withSize(is_);
        }
        int256 change = (is_ > 0 ? is_ : int256(0)) - (was > 0 ? was : int256(0));
        if (change != 0) openInterest[series] = uint256(int256(openInterest[series]) + change);
    }

    function _changed(uint256 account) internal {
        uint256 id = ++accounts[account].changeId;
        uint256[] memory amounts = new uint256[](assets.length);
        for (uint256 asset = 1; asset < amounts.length; ++asset) amounts[asset] = collateral[account][asset];
        emit Changed(account, id, accounts[account].cash, _legs(account), amounts);
    }

    function _legs(uint256 account) internal view returns (uint256[] memory held) {
        held = new uint256[](accounts[account].legs);
        for (uint256 i; i < held.length; ++i) held[i] = legs[account][i];
    }

    /* ------------------------------------------------------------------------------------------------------
                                                      READS
    ------------------------------------------------------------------------------------------------------ */

    /// @notice What an account holds, as `Risk` takes it: collateral in wad units.
    function portfolio(uint256 account) public view returns (Portfolio memory p) {
        p.cash = accounts[account].cash;
        p.legs = _legs(account);
        p.collateral = new uint256[](assets.length);
        uint256 holds = accounts[account].assets;
        for (uint256 a = 1; a < p.collateral.length; ++a) {
            if (holds & (1 << a) != 0) p.collateral[a] = collateral[account][a] * 1e18 / assets[a].unit;
        }
    }

    /// @notice Health at the current parameters, every scenario.
    function health(uint256 account, Price mode) external view returns (Health memory) {
        return risk.assess(portfolio(account), params.current(), mode, type(uint256).max);
    }

    /// @notice Health in one named scenario, a byte per underlying.
    function healthAt(uint256 account, Price mode, uint256 scenario) external view returns (Health memory) {
        return risk.assess(portfolio(account), params.current(), mode, scenario);
    }

    function accountOf(uint256 account) external view returns (Account memory) {
        return accounts[account];
    }

    function collateralOf(uint256 account, uint256 asset) external view returns (uint256) {
        return collateral[account][asset];
    }

    function assetAt(uint256 asset) external view returns (address token, uint256 unit) {
        return (assets[asset].token, assets[asset].unit);
    }

    function assetCount() external view returns (uint256) {
        return assets.length;
    }
}
