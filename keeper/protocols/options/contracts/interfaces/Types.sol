// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

// Every struct of the clearing house, with its units.
//   wad    1.0 == 1e18         ppm   1.0 == 1e6         bps   1.0 == 1e4
//   usd    US dollars, wad     size  contracts of one underlying, wad, negative when short

/// @notice What an account holds. A leg is one word, see `Leg.sol`.
struct Portfolio {
    int256 cash; //            usd
    uint256[] legs; //         in no particular order
    uint256[] collateral; //   wad units of each asset, by asset id; entry 0 is cash and stays 0
}

/// @notice Where a portfolio stands at one price.
struct Health {
    int256 equity; //          usd, rounded down
    uint256 mm; //             usd, maintenance requirement, rounded up
    uint256 im; //             usd, initial requirement, rounded up
    uint256 convex; //         usd, the part of mm that grows with the square of the size
    uint256 loss; //           usd, worst scenario loss before factors
    uint256 worst; //          the scenario that gave it, one byte per underlying
    uint256 underlyings; //    bit u set: the portfolio depends on underlying u
    bool clamped; //           the price used differs from spot for one of them
    bool stale; //             the feed of one of them is older than its maximum age
    bool widened; //           initial margin was asked for scenarios wider than those of maintenance
    int256[4] exposures; //    usd, delta x price per underlying, collateral included
}

/// @notice One purchase of a slice, as `Clearing` carries it out.
struct Fill {
    uint256 account;
    uint256 bidder;
    uint256 fraction; //       wad of everything; WAD moves all exactly
    int256 paid; //            usd, by the bidder; negative: he receives
    uint256 fee; //            usd, by the bidder
    uint256 toReserve; //      usd, the part of the fee that goes to the gamma reserve
    uint256 fromFund; //       usd
}

/// @notice What the loss of the worst scenario is made of; delta + gamma + vega + remainder = loss.
struct Components {
    uint256 loss; //           usd, as in Health
    int256 delta; //           usd
    int256 gamma; //           usd
    int256 vega; //            usd
    int256 remainder; //       usd
    uint256 worst; //          as in Health
}

/// @notice Which price a portfolio is valued at.
enum Price {
    Spot, //     as published
    Trigger, //  spot within a wide band of the slow mark: decides whether an account may be flagged
    Bid, //      spot within a narrow band of the fast mark: decides what a bid pays
    Initial //   the price of Bid, and scenarios as wide as the volatility asks now: decides who may open risk
}

/// @notice What `Risk` needs.
struct RiskParams {
    uint256 mmFactor; //     wad of the scenario loss
    uint256 imFactor; //     wad, >= mmFactor
    uint256 floorGrossMm; // wad of price, per short contract
    uint256 floorGrossIm; // wad of price, >= floorGrossMm
    uint256 floorNaked; //   wad of price, per short contract that no contract of the same type covers
    uint256 lambda; //       wad, size add-on: lambda (delta p)^2 / depth
    uint256 confidence; //   wad of gross notional, at confidence 0
    uint256 volPowerShort; //wad, exponent of the term structure of vol shocks up to 30 days
    uint256 volPowerLong; // wad, beyond
    uint256 volDaysFloor; // seconds, shortest time to expiry in that formula
    uint256 triggerBand; //  wad around the slow mark
    uint256 bidBand; //      wad around the fast mark
    uint256 stressCap; //    wad, most that volatility widens the price moves of the scenarios; 1 is off
    uint256[] depths; //     usd, pool depth per underlying that the size add-on is measured against
    uint256[] assets; //     one word each, see `Collateral.sol`; entry 0 is cash and is ignored
    uint256[] scenarios; //  one word each, see `Scenario.sol`
}

/// @notice What `Liquidator` needs.
struct AuctionParams {
    uint256 buffer; //       wad, b: a maximal partial bid leaves health 1 + b
    uint256 rho0; //         wad, discount at the start, in units of the maintenance requirement
    uint256 rho1; //         wad, after t1
    uint256 rho2; //         wad, after t1 + t2
    uint256 t1; //           live seconds
    uint256 t2; //           live seconds
    uint256 rhoFund; //      wad, the fund pays for a solvent account only up to this discount
    uint256 rhoTake; //      wad, discount of a takeover
    uint256 hTake; //        wad, health below which a takeover need not wait for t1
    uint256 fee; //          wad, phi: share of the discount that goes to the fund
    uint256 bidDelay; //     live seconds from flag to first bid
    uint256 bidRounds; //    price publications from flag to first bid
    uint256 grace; //        seconds after an outage before the first flag and bid
    uint256 cureMemory; //   seconds after a cure in which a new flag continues the old clock
    uint256 minSlice; //     wad, smallest fraction
    uint256 dust; //         usd of requirement; a rest below it is taken with the slice
    uint256 fundPerAuction; //wad of the fund
    uint256 fundPerEpoch; // wad of the fund
    uint256 takePerEpoch; // usd of requirement that the backstop may take over
    uint256 epoch; //        seconds
    uint256 rhoSealed; //    wad, highest discount of a sealed bid
    uint256 commitTime; //   live seconds from the flag in which sealed bids are committed; 0: no sealed stage
    uint256 revealTime; //   live seconds after it in which they are opened, and again in which they are filled
    uint256 bond; //         wad of requirement, what a sealed bidder deposits until he opens his bid
    uint256 adlDelay; //     live seconds for which an insolvent account waits for its counterparties before the loss
    //                       is shared by all
    uint256 minAccount; //   usd, least maintenance requirement of an account that opens risk
    uint256 reserveShare; // wad, share of each fee that goes to the gamma reserve
    uint256 impact; //       wad, at least the pool's share in the published price: sales pay impact (flow^2) / depth
    uint256 impactTime; //   seconds in which what has been sold fades to 1 / e of itself
}

struct ParamSet {
    RiskParams risk;
    AuctionParams auction;
}
