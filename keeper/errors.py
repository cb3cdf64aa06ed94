"""What can go wrong, split by what to do next.

    KeeperError
    ├── Retry     the world blinked      try the same again
    │   ├── NodeUnavailable              refused, timed out, closed, 5xx
    │   ├── RateLimited                  429 and its dialects
    │   └── StaleRead                    the node does not know the block that was asked for
    ├── Replan    the world moved        throw the plan away, decide again on the next block
    │   └── Reverted                     the call would revert; carries the revert data
    ├── Pause     this part is unwell    stop using one protocol or endpoint, go on with the rest
    │   ├── AdapterFault                 an adapter raised or disagreed with the chain
    │   └── Fenced                       another host may use this key now: sign and send nothing, watch
    └── Stop      do not go on           exit, with this exit code
        ├── Misconfigured    3           located in a file, with the fix
        ├── SecretUnusable   4           keystore, password
        ├── ChainLost        5           unreachable beyond the limit
        │   └── WrongChain   5           another chain id or genesis than configured
        ├── CheckFailed      6           a verification the user asked for did not hold
        ├── RiskHalt         7           a limit was reached; must not be restarted by a machine
        ├── NotFound         8           no such account, recording, running keeper
        └── Broken           1           a broken promise of ours: book diverged, journal unclear
            └── Unreadable   1           a block as it was told to us; another node may tell it otherwise

Foreign exceptions are translated where they enter (``chain/rpc.py``, ``settings.py``,
``tx/journal.py``); nothing outside those files catches a library's exception.
"""


class KeeperError(Exception):
    """Base of every error of ours. ``help`` names the next step for a person."""

    code = "KE000"

    def __init__(self, message: str, *, help: str = "") -> None:
        super().__init__(message)
        self.help = help


class Retry(KeeperError):
    code = "KE100"


class NodeUnavailable(Retry):
    code = "KE101"


class RateLimited(Retry):
    """``after``: seconds that the node asked us to wait; 0 when it did not say."""

    code = "KE102"

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class StaleRead(Retry):
    code = "KE103"


class Replan(KeeperError):
    code = "KE200"


class Reverted(Replan):
    """A simulated or estimated call reverts. ``data`` is the raw revert data."""

    code = "KE201"

    def __init__(self, message: str, data: bytes = b"", *, help: str = "") -> None:
        super().__init__(message, help=help)
        self.data = data


class Pause(KeeperError):
    code = "KE300"


class AdapterFault(Pause):
    code = "KE301"


class Fenced(Pause):
    code = "KE302"


class Stop(KeeperError):
    code = "KE400"
    exit_code = 1


class Broken(Stop):
    code = "KE401"
    exit_code = 1


class Unreadable(Broken):
    code = "KE410"


class Misconfigured(Stop):
    code = "KE403"
    exit_code = 3


class SecretUnusable(Stop):
    code = "KE404"
    exit_code = 4


class ChainLost(Stop):
    code = "KE405"
    exit_code = 5


class WrongChain(ChainLost):
    code = "KE406"


class CheckFailed(Stop):
    code = "KE407"
    exit_code = 6


class RiskHalt(Stop):
    code = "KE408"
    exit_code = 7


class NotFound(Stop):
    code = "KE409"
    exit_code = 8
