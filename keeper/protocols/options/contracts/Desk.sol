// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {SafeTransferLib} from "solady/src/utils/SafeTransferLib.sol";

/// @title Desk
/// @notice Holds a keeper's capital. A cold key owns it. Hot keys may only make calls that the owner listed, with the
/// arguments that he pinned: a beneficiary is the desk, a spender is the venue. The hot key itself holds nothing but
/// gas money and has no approvals.
contract Desk {
    struct Call {
        address target;
        bytes data;
    }

    /// @notice A number read before and after the calls: `target.staticcall(data)`, first word, signed.
    struct Floor {
        address target;
        bytes data;
        int256 least; // the least by which it must change
    }

    /// @notice An argument that the owner decided: `argument word & mask` must be `value`.
    struct Pin {
        uint256 word;
        uint256 mask;
        uint256 value;
    }

    event Operator(address indexed who, bool allowed);
    event Allowed(address indexed target, bytes4 indexed selector, bool allowed, Pin[] pins);
    event Ran(address indexed by, uint256 calls);

    error Unauthorised();
    error Late(uint256 deadline, uint256 now_);
    error NotAllowed(address target, bytes4 selector);
    error NotPinned(address target, bytes4 selector, uint256 word);
    error BelowFloor(uint256 index, int256 change, int256 least);
    error CallFailed(uint256 index, bytes reason);
    error Reentrant();

    address public immutable owner;
    mapping(address who => bool) public operator;
    mapping(address target => mapping(bytes4 selector => bool)) public allowed;
    mapping(address target => mapping(bytes4 selector => Pin[])) public pins;
    bool internal running;

    constructor(address owner_) {
        owner = owner_;
    }

    modifier onlyOwner() {
        if (msg.sender != owner) revert Unauthorised();
        _;
    }

    function setOperator(address who, bool allowed) external onlyOwner {
        operator[who] = allowed;
        emit Operator(who, allowed);
    }

    /// @notice List a call, or take it off the list. The pins replace those it had.
    function allow(address target, bytes4 selector, bool yes, Pin[] calldata fixed_) external onlyOwner {
        allowed[target][selector] = yes;
        delete pins[target][selector];
        for (uint256 i; i < fixed_.length; ++i) pins[target][selector].push(fixed_[i]);
        emit Allowed(target, selector, yes, fixed_);
    }

    /// @notice The owner may do anything: approve, withdraw, rescue.
    function asOwner(address target, bytes calldata data) external payable onlyOwner returns (bytes memory) {
        return _call(0, target, data, msg.value);
    }

    /// @notice Make the calls in order, all or none, not after `deadline`, and only if every floor holds.
    function run(Call[] calldata calls, Floor[] calldata floors, uint256 deadline) external {
        if (!operator[msg.sender]) revert Unauthorised();
        if (block.timestamp > deadline) revert Late(deadline, block.timestamp);
        if (running) revert Reentrant();
        running = true;
        int256[] memory was = new int256[](floors.length);
        for (uint256 i; i < floors.length; ++i) was[i] = _read(floors[i]);
        for (uint256 i; i < calls.length; ++i) {
            _check(calls[i].target, calls[i].data);
            _call(i, calls[i].target, calls[i].data, 0);
        }
        for (uint256 i; i < floors.length; ++i) {
            int256 change = _read(floors[i]) - was[i];
            if (change < floors[i].least) revert BelowFloor(i, change, floors[i].least);
        }
        running = false;
        emit Ran(msg.sender, calls.length);
    }

    function _check(address target, bytes calldata data) internal view {
        bytes4 selector = bytes4(data);
        if (!allowed[target][selector]) revert NotAllowed(target, selector);
        Pin[] storage fixed_ = pins[target][selector];
        for (uint256 i; i < fixed_.length; ++i) {
            Pin memory pin = fixed_[i];
            uint256 at = 4 + 32 * pin.word;
            if (uint256(bytes32(data[at:at + 32])) & pin.mask != pin.value) revert NotPinned(target, selector, pin.word);
        }
    }

    function _call(uint256 index, address target, bytes calldata data, uint256 value) internal returns (bytes memory) {
        (bool ok, bytes memory result) = target.call{value: value}(data);
        if (!ok) revert CallFailed(index, result);
        return result;
    }

    function _read(Floor calldata f) internal view returns (int256) {
        (bool ok, bytes memory result) = f.target.staticcall(f.data);
        require(ok && result.length >= 32, "floor");
        return abi.decode(result, (int256));
    }
}
