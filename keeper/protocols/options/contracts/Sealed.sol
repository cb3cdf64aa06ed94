// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";
import {AuctionParams} from "./interfaces/Types.sol";
import {Clearing} from "./Clearing.sol";
import {Fixed} from "./lib/Fixed.sol";
import {Liquidator} from "./Liquidator.sol";
import {Params} from "./Params.sol";

/// @title Sealed
/// @notice Sealed bids for an account that was just flagged, among invited bidders.
///
///     live seconds since the flag
///     0 ────────── commitTime ────────── + revealTime ────────── + revealTime ──────────►
///       commit: hash and bond  reveal: rho, most    award: by rising rho       public only
///
/// A bid is a discount rho and the largest slice it wants. The hash holds bidder, account and auction, so it cannot be
/// copied. Winners are filled one after the other, the lowest discount first, each at his own rho and at what the
/// account is then: the price follows the account by itself. The public clock runs from the flag all the while.
///
/// Who does not open his bid in time loses his bond to the fund. With fewer than two commitments there is no stage:
/// bonds go back and the public may buy. The same when nobody reveals, and when the auction ends before its time.
contract Sealed {
    /* ------------------------------------------------------------------------------------------------------
                                                      TYPES
    ------------------------------------------------------------------------------------------------------ */

    struct Bid {
        uint256 bidder; //     account
        bytes32 hash; //       see `hashOf`; 0 once revealed
        uint128 bond; //       usd; 0 once it has left
        uint64 rho; //         wad
        uint64 most; //        wad of the account; 0: nothing to fill
    }

    /// @notice Where the stage of an auction stands.
    enum Phase {
        None, //     no auction, or no stage in it
        Commit,
        Reveal,
        Award,
        Over //      the public may buy
    }

    event Invited(address indexed bidder, bool allowed);
    event Committed(
        uint256 indexed account, uint256 indexed flaggedAt, uint256 indexed bidder, bytes32 hash, bytes32 note,
        uint256 bond
    );
    event Revealed(
        uint256 indexed account, uint256 indexed flaggedAt, uint256 indexed bidder, uint256 rho, uint256 most
    );
    event Awarded(uint256 indexed account, uint256 indexed bidder, uint256 fraction, bool filled);
    event Bonds(uint256 indexed account, uint256 indexed flaggedAt, uint256 returned, uint256 forfeited);

    error Unauthorised();
    error NotInvited(uint256 bidder);
    error WrongPhase(Phase phase, Phase wanted);
    error Already(uint256 bidder);
    error NoCommitment(uint256 bidder);
    error BadReveal(uint256 rho, uint256 most, uint256 rhoSealed);
    error SelfBid(uint256 account, uint256 bidder);
    error TooMany(uint256 bids);
    error NothingToDo(uint256 account);

    /* ------------------------------------------------------------------------------------------------------
                                                     STORAGE
    ------------------------------------------------------------------------------------------------------ */

    uint256 private constant WAD = 1e18;
    uint256 public constant MAX_BIDS = 8; //       of one auction: ending it touches every bond

    Clearing public immutable clearing;
    Liquidator public immutable liquidator;
    Params public immutable params;

    mapping(address bidder => bool) public invited;
    uint256 public guests; //                      how many are
    mapping(uint256 account => mapping(uint256 flaggedAt => Bid[])) internal bids;

    constructor(Liquidator liquidator_) {
        (liquidator, clearing) = (liquidator_, liquidator_.clearing());
        params = clearing.params();
    }

    function invite(address bidder, bool allowed) external {
        if (msg.sender != params.governor()) revert Unauthorised();
        if (allowed != invited[bidder]) guests = allowed ? guests + 1 : guests - 1;
        invited[bidder] = allowed;
        emit Invited(bidder, allowed);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                      PHASE
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Where the stage stands. `t` is live seconds since the flag.
    function phase(AuctionParams memory p, uint256 account, uint256 flaggedAt, uint256 t) public view returns (Phase) {
        if (flaggedAt == 0 || p.commitTime == 0) return Phase.None;
        Bid[] storage all = bids[account][flaggedAt];
        if (guests == 0 && all.length == 0) return Phase.None;
        if (t <= p.commitTime) return Phase.Commit;
        if (all.length < 2) return Phase.Over;
        if (t <= p.commitTime + p.revealTime) return Phase.Reveal;
        return t <= p.commitTime + 2 * p.revealTime && _lowest(all) < all.length ? Phase.Award : Phase.Over;
    }

    /// @dev The auction as it stands; reverts unless it is in phase `wanted`.
    function _in(uint256 account, Phase wanted) internal view returns (AuctionParams memory p, uint256 flaggedAt) {
        uint256 t;
        (p, flaggedAt, t) = liquidator.sealedClock(account);
        Phase now_ = phase(p, account, flaggedAt, t);
        if (now_ != wanted) revert WrongPhase(now_, wanted);
    }

    /// @dev Index of the open bid with the least rho, the earlier of equals; the length when there is none.
    function _lowest(Bid[] storage all) internal view returns (uint256 found) {
        found = all.length;
        for (uint256 i; i < all.length; ++i) {
            if (all[i].most != 0 && (found == all.length || all[i].rho < all[found].rho)) found = i;
        }
    }

    /* ------------------------------------------------------------------------------------------------------
                                              COMMIT, REVEAL, AWARD
    ------------------------------------------------------------------------------------------------------ */

    /// @notice What a bidder commits to.
    function hashOf(uint256 account, uint256 flaggedAt, uint256 bidder, uint256 rho, uint256 most, bytes32 salt)
        public
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(block.chainid, address(this), account, flaggedAt, bidder, rho, most, salt));
    }

    /// @notice Bid without showing it. The bond leaves the bidder's cash; he must keep his initial margin.
    /// @param note for the bidder alone: what he needs to find his bid again, encrypted as he likes; only emitted
    function commit(uint256 account, uint256 bidder, bytes32 hash, bytes32 note) external {
        (AuctionParams memory p, uint256 flaggedAt) = _in(account, Phase.Commit);
        if (!clearing.mayAct(bidder, msg.sender)) revert Unauthorised();
        if (!invited[address(uint160(bidder))]) revert NotInvited(bidder);
        if (uint160(bidder) == uint160(account)) revert SelfBid(account, bidder);
        Bid[] storage all = bids[account][flaggedAt];
        if (all.length == MAX_BIDS) revert TooMany(MAX_BIDS);
        for (uint256 i; i < all.length; ++i) {
            if (uint160(all[i].bidder) == uint160(bidder)) revert Already(bidder);
        }
        uint256 bond = Fixed.mulUp(liquidator.requirement(account), p.bond);
        all.push(Bid(bidder, hash, uint128(bond), 0, 0));
        clearing.pay(bidder, uint160(address(this)), bond, true);
        emit Committed(account, flaggedAt, bidder, hash, note, bond);
    }

    /// @notice Open a bid. It must be what was committed, and its discount no higher than rhoSealed.
    function reveal(uint256 account, uint256 bidder, uint256 rho, uint256 most, bytes32 salt) external {
        (AuctionParams memory p, uint256 flaggedAt) = _in(account, Phase.Reveal);
        Bid storage b = _find(bids[account][flaggedAt], bidder);
        bool fits = b.hash == hashOf(account, flaggedAt, bidder, rho, most, salt);
        if (!fits || rho > p.rhoSealed || most == 0 || most > WAD) revert BadReveal(rho, most, p.rhoSealed);
        (b.hash, b.rho, b.most) = (0, uint64(rho), uint64(most));
        emit Revealed(account, flaggedAt, bidder, rho, most);
    }

    function _find(Bid[] storage all, uint256 bidder) internal view returns (Bid storage) {
        for (uint256 i; i < all.length; ++i) {
            if (all[i].bidder == bidder && all[i].hash != 0) return all[i];
        }
        revert NoCommitment(bidder);
    }

    /// @notice Fill the best open bid. Anyone may call, as often as bids are left. A winner who cannot hold what he
    /// wanted loses his bond; all others have it back.
    function award(uint256 account) external returns (uint256 fraction) {
        (, uint256 flaggedAt) = _in(account, Phase.Award);
        Bid[] storage all = bids[account][flaggedAt];
        Bid storage b = all[_lowest(all)];
        (uint256 bidder, uint256 rho, uint256 most) = (b.bidder, b.rho, b.most);
        b.most = 0;
        bool filled = true;
        try liquidator.fill(account, bidder, most, rho) returns (uint256 f) {
            fraction = f;
        } catch (bytes memory why) {
            bytes4 error = bytes4(why);
            filled = false;
            bool his = error == Clearing.UnderMargin.selector || error == Clearing.TooManyLegs.selector;
            if (!his) {
                assembly ("memory-safe") {
                    revert(add(why, 32), mload(why))
                }
            }
        }
        _release(b, !filled);
        emit Awarded(account, bidder, fraction, filled);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                      BONDS
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Let go of all bonds of an auction whose stage is over: those of bids never opened go to the fund, unless
    /// there was no stage to open them in. Anyone may call; the end of an auction does it by itself.
    function release(uint256 account) external {
        (AuctionParams memory p, uint256 flaggedAt, uint256 t) = liquidator.sealedClock(account);
        Phase now_ = phase(p, account, flaggedAt, t);
        if (now_ != Phase.Over) revert WrongPhase(now_, Phase.Over);
        if (_all(account, flaggedAt, true) == 0) revert NothingToDo(account);
    }

    /// @notice The auction is over; `late`: the time to open bids had passed.
    function ended(uint256 account, uint256 flaggedAt, bool late) external {
        if (msg.sender != address(liquidator)) revert Unauthorised();
        _all(account, flaggedAt, late);
    }

    function _all(uint256 account, uint256 flaggedAt, bool late) internal returns (uint256 touched) {
        Bid[] storage all = bids[account][flaggedAt];
        bool stage = all.length >= 2 && late;
        (uint256 returned, uint256 forfeited) = (0, 0);
        for (uint256 i; i < all.length; ++i) {
            uint256 bond = all[i].bond;
            if (bond == 0) continue;
            bool lost = stage && all[i].hash != 0;
            all[i].most = 0;
            _release(all[i], lost);
            (returned, forfeited) = lost ? (returned, forfeited + bond) : (returned + bond, forfeited);
        }
        touched = returned + forfeited;
        if (touched != 0) emit Bonds(account, flaggedAt, returned, forfeited);
    }

    function _release(Bid storage b, bool lost) internal {
        uint256 bond = b.bond;
        b.bond = 0;
        if (bond == 0) return;
        if (lost) clearing.forfeit(uint160(address(this)), bond);
        else clearing.pay(uint160(address(this)), b.bidder, bond, false);
    }

    function bidsOf(uint256 account, uint256 flaggedAt) external view returns (Bid[] memory) {
        return bids[account][flaggedAt];
    }
}
