// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {FixedPointMathLib as Math} from "solady/src/utils/FixedPointMathLib.sol";
import {AuctionParams, ParamSet, RiskParams} from "./interfaces/Types.sol";
import {Blob} from "./lib/Blob.sol";
import {Collateral} from "./lib/Collateral.sol";
import {Pace} from "./lib/Pace.sol";
import {Scenario} from "./lib/Scenario.sol";

/// @title Params
/// @notice Parameter sets, append-only. Each set is stored as code and never changes, so a running auction
/// keeps the version it began with. Bounds are fixed here and encode direction.
///
/// A set is proposed, waits `delay` seconds in the open, in which it may be cancelled, and is then accepted. From
/// then on it decides new auctions and initial margin. Maintenance margin follows at the pace of `Pace.sol`: for
/// PHASE seconds the old requirement, grown by 1 % a minute, is a limit to the new one (`Risk.standing`).
contract Params {
    /* ------------------------------------------------------------------------------------------------------
                                                      TYPES
    ------------------------------------------------------------------------------------------------------ */

    struct Version {
        address set; //      where it is, see `Blob.sol`
        uint40 ready; //     block time from which it may be accepted; 0 when cancelled
    }

    event Proposed(uint256 indexed version, uint256 ready, ParamSet set);
    event Cancelled(uint256 indexed version);
    event Accepted(uint256 indexed version);

    error Unauthorised();
    error Bounds(bytes32 parameter, uint256 value);
    error NotReady(uint256 ready, uint256 now_);
    error Unknown(uint256 version);

    /* ------------------------------------------------------------------------------------------------------
                                                     STORAGE
    ------------------------------------------------------------------------------------------------------ */

    uint256 private constant WAD = 1e18;
    uint256 public constant MAX_UNDERLYINGS = 4;
    uint256 public constant MAX_SCENARIOS = 32;
    uint256 public constant PHASE = 4 hours; // in which 1 % a minute makes eleven of one

    address public immutable governor;
    address public immutable guardian; // may only cancel
    uint256 public immutable delay; //    seconds between propose and accept

    mapping(uint256 version => Version) internal versions;
    uint16 public count; //               versions are 1 to count; with the next four in one word
    uint16 public current; //             for new auctions and for health
    uint16 public previous; //            the one before
    uint40 public acceptedAt; //          block time of `current`
    address internal set_; //             where `current` is

    constructor(address governor_, address guardian_, uint256 delay_) {
        (governor, guardian, delay) = (governor_, guardian_, delay_);
    }

    modifier onlyGovernor() {
        if (msg.sender != governor) revert Unauthorised();
        _;
    }

    /* ------------------------------------------------------------------------------------------------------
                                                    GOVERNANCE
    ------------------------------------------------------------------------------------------------------ */

    /// @notice Store a set; it may be accepted `delay` seconds later. The first may be accepted at once.
    function propose(ParamSet memory set) external onlyGovernor returns (uint256 version) {
        _checkRisk(set.risk);
        _checkAuction(set.auction);
        version = ++count;
        uint256 ready = block.timestamp + (current == 0 ? 0 : delay);
        versions[version] = Version(Blob.write(set), uint40(ready));
        emit Proposed(version, ready, set);
    }

    /// @notice Take back a set that was not accepted yet.
    function cancel(uint256 version) external {
        if (msg.sender != governor && msg.sender != guardian) revert Unauthorised();
        if (version <= current || versions[version].ready == 0) revert Unknown(version);
        versions[version].ready = 0;
        emit Cancelled(version);
    }

    /// @notice Make a proposed set the current one; a set that was passed over is gone. One at a time: not while the
    /// last one is still being phased in.
    function accept(uint256 version) external onlyGovernor {
        uint256 ready = versions[version].ready;
        if (version <= current || ready == 0) revert Unknown(version);
        if (previous != 0) ready = ready > acceptedAt + PHASE ? ready : acceptedAt + PHASE;
        if (block.timestamp < ready) revert NotReady(ready, block.timestamp);
        (previous, current, acceptedAt) = (current, uint16(version), uint40(block.timestamp));
        set_ = versions[version].set;
        emit Accepted(version);
    }

    /// @notice The set in force, and the one that still limits its maintenance requirement.
    /// @return version_ current @return before 0 when nothing is phased in @return growth wad, of the old requirement
    function ramp() external view returns (uint256 version_, uint256 before, uint256 growth) {
        (version_, before) = (current, previous);
        uint256 since = block.timestamp - acceptedAt;
        if (before == 0 || since >= PHASE) return (version_, 0, 0);
        growth = Pace.growth(since);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                      BOUNDS
    ------------------------------------------------------------------------------------------------------ */

    function _require(bool ok, bytes32 parameter, uint256 value) internal pure {
        if (!ok) revert Bounds(parameter, value);
    }

    /// @dev Checks, and fills in the logarithms of the scenarios.
    function _checkRisk(RiskParams memory p) internal pure {
        _require(p.mmFactor >= 0.1e18 && p.mmFactor <= 2e18, "mmFactor", p.mmFactor);
        _require(p.imFactor >= p.mmFactor && p.imFactor <= 4e18, "imFactor", p.imFactor);
        _require(p.floorGrossMm <= 0.1e18, "floorGrossMm", p.floorGrossMm);
        _require(p.floorGrossIm >= p.floorGrossMm && p.floorGrossIm <= 0.2e18, "floorGrossIm", p.floorGrossIm);
        _require(p.floorNaked <= 0.2e18, "floorNaked", p.floorNaked);
        _require(p.lambda <= 100e18, "lambda", p.lambda);
        _require(p.confidence <= 0.5e18, "confidence", p.confidence);
        _require(p.volPowerShort <= 1e18 && p.volPowerLong <= 1e18, "volPower", p.volPowerShort > 1e18 ? p.volPowerShort : p.volPowerLong);
        _require(p.volDaysFloor >= 3600 && p.volDaysFloor <= 30 days, "volDaysFloor", p.volDaysFloor);
        _require(p.triggerBand > 0 && p.triggerBand <= 0.5e18, "triggerBand", p.triggerBand);
        _require(p.bidBand > 0 && p.bidBand <= 0.5e18, "bidBand", p.bidBand);
        _require(p.stressCap >= WAD && p.stressCap <= 3e18, "stressCap", p.stressCap);
        uint256 n = p.depths.length;
        _require(n > 0 && n <= MAX_UNDERLYINGS, "depths", n);
        for (uint256 u; u < n; ++u) _require(p.depths[u] >= WAD, "depth", p.depths[u]);
        _require(p.assets.length > 0 && p.assets.length <= 8, "assets", p.assets.length);
        for (uint256 a = 1; a < p.assets.length; ++a) {
            uint256 c = p.assets[a];
            _require(Collateral.underlying(c) < n, "asset.underlying", Collateral.underlying(c));
            _require(Collateral.haircutMm(c) <= Collateral.haircutIm(c), "asset.haircutMm", Collateral.haircutMm(c));
            _require(Collateral.haircutIm(c) <= WAD, "asset.haircutIm", Collateral.haircutIm(c));
        }
        _require(p.scenarios.length > 0 && p.scenarios.length <= MAX_SCENARIOS, "scenarios", p.scenarios.length);
        for (uint256 i; i < p.scenarios.length; ++i) {
            uint256 s = p.scenarios[i];
            int256 spot = Scenario.spot(s);
            _require(spot > -1e18 && Scenario.kind(s) <= Scenario.ABSOLUTE, "scenario", s);
            _require(Scenario.weight(s) > 0 && Scenario.weight(s) <= WAD, "scenario.weight", Scenario.weight(s));
            p.scenarios[i] = Scenario.withLn(s, Math.lnWad(1e18 + spot));
        }
    }

    function _checkAuction(AuctionParams memory a) internal pure {
        _require(a.buffer > 0 && a.buffer <= 2e18, "buffer", a.buffer);
        _require(a.rho0 <= a.rho1 && a.rho1 <= a.rho2 && a.rho2 < WAD, "rho", a.rho2);
        _require(a.t1 > 0 && a.t2 > 0 && a.t1 <= 1 days && a.t2 <= 7 days, "t1, t2", a.t1 > 1 days ? a.t1 : a.t2);
        _require(a.rhoFund <= a.rho1, "rhoFund", a.rhoFund);
        _require(a.rhoTake <= a.rho1, "rhoTake", a.rhoTake);
        _require(a.hTake <= WAD, "hTake", a.hTake);
        _require(a.fee <= 0.5e18, "fee", a.fee);
        _require(a.bidDelay <= 1 hours && a.bidRounds <= 100, "bidDelay", a.bidDelay);
        _require(a.grace <= 1 hours && a.cureMemory <= 1 days, "grace", a.grace);
        _require(a.minSlice > 0 && a.minSlice <= 0.5e18, "minSlice", a.minSlice);
        _require(a.fundPerAuction <= WAD && a.fundPerEpoch <= WAD, "fund", a.fundPerAuction > WAD ? a.fundPerAuction : a.fundPerEpoch);
        _require(a.epoch >= 1 minutes && a.epoch <= 7 days, "epoch", a.epoch);
        _require(a.rhoSealed <= a.rho1, "rhoSealed", a.rhoSealed);
        _require(a.commitTime <= 1 hours && a.revealTime <= 1 hours, "commitTime", a.commitTime);
        _require(a.commitTime == 0 || a.revealTime > 0, "revealTime", a.revealTime);
        _require(a.bond <= 0.2e18, "bond", a.bond);
        _require(a.adlDelay <= 1 days, "adlDelay", a.adlDelay);
        _require(a.minAccount <= 1e24, "minAccount", a.minAccount);
        _require(a.reserveShare <= WAD, "reserveShare", a.reserveShare);
        _require(a.impact <= WAD, "impact", a.impact);
        _require(a.impact == 0 || (a.impactTime > 0 && a.impactTime <= 1 days), "impactTime", a.impactTime);
    }

    /* ------------------------------------------------------------------------------------------------------
                                                      READS
    ------------------------------------------------------------------------------------------------------ */

    function risk(uint256 version) external view returns (RiskParams memory) {
        return Blob.risk(setAt(version));
    }

    function auction(uint256 version) external view returns (AuctionParams memory) {
        return Blob.auction(setAt(version));
    }

    /// @notice Where a set is stored, for contracts that read it themselves.
    function setAt(uint256 version) public view returns (address) {
        return version == current ? set_ : versions[version].set;
    }
}
