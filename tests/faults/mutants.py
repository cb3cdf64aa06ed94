"""Guards taken away one at a time: tests that pass must fail. ``python -m tests.faults.mutants [PART/OF] [WORD]``

Works on a copy, in which one text of one file is replaced, and runs the tests named for it, once before and once after.
A mutant that survives is a promise that nothing holds; a text that is not found, or found twice, is a mutant that must
be written anew; tests that fail on what nobody changed prove nothing.
"""

# ruff: noqa: E501 — the table is read by its columns

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("keeper", "tests", "strategies", "config", "pyproject.toml", "README.md", "requirements-run.lock")
LINKED: Final = ("node_modules",)


class Mutant(NamedTuple):
    what: str  # the promise that is broken
    file: str  # in keeper/tx, unless it begins with keeper/
    old: str
    new: str
    tests: str  # in tests/unit, unless they name their folder

    @property
    def path(self) -> str:
        return self.file if self.file.startswith("keeper/") else f"keeper/tx/{self.file}"

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(f"tests/{name}" if "/" in name else f"tests/unit/{name}" for name in self.tests.split())


MUTANTS: Final = (
    Mutant("sent before it is durable", "sender.py", "        lane.journal.begin(flight, decided_on=head", "        await self.send(flight, head); lane.journal.begin(flight, decided_on=head", "test_tx_recovery.py"),
    Mutant("no commit at all", "sender.py", "        lane.journal.replace(flight, attempt)\n", "", "test_tx_crash.py test_tx_model.py"),
    Mutant("fence not asked at the commit", "sender.py", "        await self._share(flight, first)\n", "", "test_tx_switch.py"),
    Mutant("fence not asked before a send", "lane.py", '        """The same for bytes that are in the journal."""\n        self.check_term()\n', "", "test_tx_switch.py"),
    Mutant("term not asked after a slow signature", "sender.py", "        lane.check_term()  # a signer elsewhere takes its time\n", "", "test_tx_switch.py"),
    Mutant("a successor taken for a thief", "manager.py", " or not self.lane.leads():", ":", "test_tx_switch.py"),
    Mutant("switch not asked before a signature", "lane.py", "        self._below(Level.DRAIN if kind is AttemptKind.NOOP else act)\n", "", "test_tx_switch.py"),
    Mutant("switch not asked before a send", "lane.py", "        self._below(Level.DRAIN if attempt.kind is AttemptKind.NOOP else Level.PAUSE)\n", "", "test_tx_switch.py"),
    Mutant("unclear switch runs", "switch.py", "            return Position(Level.HALT, f\"{self._path} says", "            return Position(Level.RUN, f\"{self._path} says", "test_tx_switch.py"),
    Mutant("journal not checked before a signature", "lane.py", "        self.journal.check()\n", "", "test_tx_crash.py test_tx_recovery.py"),
    Mutant("guard not asked", "signer.py", "        self.guard.check(payload)\n", "", "test_tx_guard.py test_tx_signer.py"),
    Mutant("list of calls not looked at", "guard.py", "        if call not in self._allowed:", "        if False:", "test_tx_guard.py"),
    Mutant("approvals signed", "guard.py", "        if call[1] in APPROVALS:", "        if False:", "test_tx_guard.py"),
    Mutant("terms not read", "guard.py", "            return None if terms is None else terms(tx.data)", "            return None", "test_tx_guard.py"),
    Mutant("standing approval passes", "keeper/protocols/desk.py", "if left := [target for (target, _), amount in approved.items() if amount]:", "if left := []:", "test_tx_guard.py"),
    Mutant("cap per transaction not held", "budget.py", "worst > limits.tx_cost", "False", "test_tx_guard.py test_tx_budget.py"),
    Mutant("caps of hour and day not held", "budget.py", "self.spent(seconds, but=mine) + reserved > most", "False", "test_tx_budget.py"),
    Mutant("what is in flight not counted", "budget.py", "(c.open or now - c.at", "(not c.open and now - c.at", "test_tx_budget.py"),
    Mutant("spending forgotten by a restart", "manager.py", "        lane.budget.load(lane.signer.address, journal.since(self._day_ago(), int(lane.wall()) - DAY))\n", "", "test_tx_budget.py"),
    Mutant("nothing kept for no-ops", "budget.py", "max(worst, self._reserve)", "worst", "test_tx_budget.py"),
    Mutant("breaker never trips", "admission.py", "                raise self._tripped(", "                self._tripped(", "test_tx_switch.py"),
    Mutant("no quarantine", "admission.py", "            if failures >= limits.retries:", "            if False:", "test_tx_switch.py"),
    Mutant("two intents on one subject", "admission.py", "    if intent.subject and flight.intent.subject == intent.subject:", "    if False:", "test_tx_mempool.py"),
    Mutant("two intents on one subject, in the journal", "journal.py", "            if subject and db.execute(_OPEN", "            if False and db.execute(_OPEN", "test_tx_mempool.py"),
    Mutant("an intent twice", "manager.py", "            if known is not None:", "            if False:", "test_tx_manager.py"),
    Mutant("balance not looked at", "admission.py", "        if balance < worst and (now", "        if False and (now", "test_tx_manager.py"),
    Mutant("chain ahead of the journal ignored", "nonces.py", "    if mined > held:", "    if False:", "test_tx_recovery.py test_tx_nonces.py test_tx_crash.py"),
    Mutant("foreign use of a nonce ignored", "manager.py", "            return self._suspect(flight, head)", "            return []", "test_tx_recovery.py"),
    Mutant("receipt of another chain believed", "heads.py", "self._hashes.get(block.number, block.hash) == block.hash", "True", "test_tx_replacing.py test_tx_mempool.py"),
    Mutant("a reorg not noticed", "manager.py", "            flight.receipt = flight.waits_since = None\n            events +=", "            return events\n            events +=", "test_tx_replacing.py"),
    Mutant("only the last attempt watched", "manager.py", "[told[a.hash] for a in flight.attempts]", "[told[a.hash] for a in flight.attempts[-1:]]", "test_tx_replacing.py"),
    Mutant("nothing sent again", "manager.py", "        await self._sender.send(flight, head)\n        return []", "        return []", "test_tx_manager.py test_tx_recovery.py"),
    Mutant("a contested nonce fought for", "manager.py", "        if self._due(flight, head) and not flight.contested:", "        if self._due(flight, head):", "test_tx_manager.py"),
    Mutant("what expired goes on", "manager.py", "        late = head.timestamp > flight.intent.valid_until", "        late = False", "test_tx_replacing.py"),
    Mutant("what expired begins", "admission.py", "        if head.timestamp > intent.valid_until:", "        if False:", "test_tx_manager.py"),
    Mutant("every nonce bids more", "manager.py", "        return flight is next(self.lane.unmined()) and (", "        return (", "test_tx_replacing.py test_tx_parity.py"),
    Mutant("no multiple of the market", "fees.py", "        return min(ceiling, max(self.free, self.multiple * market.max_fee))", "        return ceiling", "test_tx_mempool.py test_tx_parity.py"),
    Mutant("a fee lowered", "fees.py", "    max_fee = min(max(least.max_fee, market.max_fee), ceiling)", "    max_fee = min(market.max_fee, ceiling)", "test_tx_fees.py test_tx_parity.py"),
    Mutant("a revert raised", "manager.py", "if await self._admission.still_good(flight, head) else AttemptKind.NOOP", "", "test_tx_mempool.py"),
    Mutant("unknown words are a refusal", "answers.py", "Answer.MAYBE)\n", "Answer.DEFINITE)\n", "test_tx_answers.py test_tx_manager.py"),
    Mutant("checksums not compared", "reading.py", "rows.checksum(row[:-1]) != row[-1]", "False", "test_tx_journal.py"),
    Mutant("chain of events not followed", "reading.py", "        if link != previous or seq != count:\n            raise damaged(path, f\"event", "        if False:\n            raise damaged(path, f\"event", "test_tx_journal.py"),
    Mutant("commits not synced", "journal.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF", "test_tx_journal.py"),
    Mutant("journal stays open after a failed write", "journal.py", "            self._end()\n            self._failure =", "            self._failure =", "test_tx_crash.py test_tx_journal.py"),
    Mutant("no lock", "lock.py", "        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "        pass\n", "test_tx_journal.py"),
    Mutant("inode not compared", "lock.py", "_inode(self._path.stat()) == self._inode", "True", "test_tx_crash.py test_tx_journal.py"),
    Mutant("earlier term accepted", "rows.py", "WHEN NEW.epoch < (SELECT max(epoch) FROM term)", "WHEN 0", "test_tx_switch.py"),
    Mutant("private goes public", "sender.py", "        if route is Route.PRIVATE:\n            return True\n", "", "test_tx_relay.py"),
    Mutant("a relay that fails is the end", "sender.py", "        if answer in TAKEN or route is Route.PRIVATE:", "        if True:", "test_tx_relay.py"),
    Mutant("a remote signer may redirect", "remote.py", "    if made != raw:", "    if False:", "test_tx_remote.py"),
    Mutant("a remote signer may sign with another key", "remote.py", "    if _signed_by(signature, digest) != address:", "    if False:", "test_tx_remote.py"),
    # ─── the files of tests/faults ───
    Mutant("an oracle at zero divides", "keeper/protocols/morpho_blue/offers.py", " if now.price else None", "", "faults/test_data.py"),
    Mutant("a price without bounds is capped into one that condemns", "keeper/protocols/morpho_blue/maths.py", "ORACLE_PRICE_SCALE: Final = 10**36", "ORACLE_PRICE_SCALE: Final = 10**300", "faults/test_data.py"),
    Mutant("an oracle that says nothing keeps its last price", "keeper/protocols/morpho_blue/adapter.py", "        if number is None:\n            return None\n", "        if number is None:\n            return before\n", "faults/test_data.py"),
    Mutant("an answer that is too short is padded", "keeper/protocols/words.py", "        raise AdapterFault(f\"ABI data of {len(data)} bytes ends before word {i}\")", "        return word.ljust(WORD, b\"\\0\")", "faults/test_data.py"),
    Mutant("other zeros are believed", "keeper/protocols/morpho_blue/records.py", "0 if last < value", "0 if True or last < value", "faults/test_data.py"),
    Mutant("too much gas is planned all the same", "keeper/core/planner.py", "        if gas > TX_GAS or ", "        if ", "faults/test_data.py"),
    Mutant("an account of dust keeps a page", "keeper/protocols/morpho_blue/screen.py", "        if isinstance(record, Position) and record.shares:\n", "        self.__dict__.setdefault(\"all\", []).append(bytearray(700))\n        if isinstance(record, Position) and record.shares:\n", "faults/test_data.py"),
    Mutant("a revert that cannot be read escapes", "keeper/protocols/abi.py", "            return (entry.name, tuple(decode(entry.inputs, data[4:]))) if entry else None\n        except (DecodingError, OverflowError, UnicodeDecodeError):", "            return (entry.name, tuple(decode(entry.inputs, data[4:]))) if entry else None\n        except ZeroDivisionError:", "faults/test_data.py"),
    Mutant("the key signs messages", "signer.py", "    def __repr__(self) -> str:\n        return f\"LocalSigner(", "    def sign_message(self, text: bytes) -> bytes:\n        return self._curve(keccak(text))\n\n    def __repr__(self) -> str:\n        return f\"LocalSigner(", "faults/test_data.py"),
    Mutant("an allowance is left", "keeper/protocols/morpho_blue/adapter.py", "self._approve(plan, 0))", "self._approve(plan, 1))", "faults/test_data.py"),
    Mutant("an old price is fresh", "keeper/protocols/options/oracle.py", " or dt > c.max_age)", ")", "faults/test_data.py"),
    Mutant("what is withdrawn may go to anybody", "keeper/protocols/desk.py", "    (\"Clearing\", \"withdraw\"): (0, 3),", "    (\"Clearing\", \"withdraw\"): (0,),", "faults/test_desk.py"),
    Mutant("a hot key may own the desk", "keeper/arming.py", "        if owner in self.addresses:", "        if False:", "faults/test_desk.py"),
    Mutant("certificates are not looked at (http)", "keeper/chain/wires.py", "self._session.post(endpoint.url, data=frame, headers=headers)", "self._session.post(endpoint.url, data=frame, headers=headers, ssl=False)", "faults/test_tls.py"),
    Mutant("certificates are not looked at (ws)", "keeper/chain/wires.py", "            heartbeat=self._listener.ping,\n", "            heartbeat=self._listener.ping,\n            ssl=False,\n", "faults/test_tls.py"),
    Mutant("no other endpoint takes over", "keeper/chain/pool.py", "            except (NodeUnavailable, RateLimited, WrongChain) as error:\n                failure = error\n        raise", "            except (NodeUnavailable, RateLimited, WrongChain) as error:\n                raise error from None\n        raise", "faults/test_tls.py"),
    Mutant("the follower keeps every block", "keeper/chain/ring.py", "        if len(self._refs) > RING:", "        if False:", "faults/test_endurance.py"),
    Mutant("a task is left behind at every block", "keeper/daemon.py", "                await self._audit(event.ref)", "                await self._audit(event.ref)\n                self.__dict__.setdefault(\"left\", []).append(asyncio.create_task(asyncio.Event().wait()))", "faults/test_endurance.py"),
    Mutant("a flight that is final stays in memory", "lane.py", "            del self.flights[flight.nonce]", "            pass", "faults/test_endurance.py"),
    Mutant("what was spent long ago is remembered", "budget.py", "        for key in gone:\n            self._total -= self._charges.pop(key).cost", "        for key in gone:\n            self._total -= self._charges[key].cost", "faults/test_endurance.py"),
    Mutant("what other hosts have signed is not read", "manager.py", "journal.take_over([rows.of_line(line) for line in await lane.fence.lines()])", "journal.take_over([])", "faults/test_life_hosts.py"),
    Mutant("a lease never ends by itself", "keeper/process/lease.py", "        return self._now() < self._until", "        return self._held", "faults/test_life_hosts.py"),
    Mutant("a signal does not end the keeper", "keeper/daemon.py", "        self._stopping = True\n", "        return\n", "faults/test_life_limits.py"),
    Mutant("the log waits for its reader", "keeper/observe/outlet.py", "            self._lines.put_nowait(rendered)", "            self._stream.write(rendered())", "faults/test_life_limits.py"),
    Mutant("numbers beyond any column are taken from headers", "keeper/chain/codec.py", "COUNT_LIMIT = 2**63", "COUNT_LIMIT = WORD_LIMIT", "test_rpc_node.py"),
    Mutant("a receipt may cost anything", "keeper/chain/node.py", '"receipt.effectiveGasPrice", codec.PRICE_LIMIT)', '"receipt.effectiveGasPrice")', "test_rpc_state.py"),
    Mutant("fees without percentiles end it", "keeper/bootstrap.py", "for row in history.rewards if row]", "for row in history.rewards]", "faults/test_faulty_nodes.py"),
    Mutant("a block that one cannot read stays with the others", "keeper/core/kernel.py", "                list(self._rollback(self.ref))  # as if it had not come\n", "", "test_unreadable.py"),
    Mutant("a block that cannot be read is passed over", "keeper/chain/follower.py", "            self._ring.pop()\n", "", "test_unreadable.py"),
    Mutant("a block may have any number", "keeper/chain/follower.py", "        if child.number != parent.number + 1:", "        if False:", "test_follower_trouble.py"),
    Mutant("pushed heads of no chain keep turns away", "keeper/chain/follower.py", "                self._wary |= bool(self._pushed)", "                self._wary |= False", "test_follower_trouble.py"),
    Mutant("a block that cannot be read is asked for for ever", "keeper/chain/follower.py", "            raise why\n", "            pass\n", "test_unreadable.py"),
    Mutant("accounts are read at a block that was not taken", "keeper/chain/filling.py", "desk.missing and desk.book.ref == event.ref", "desk.missing", "test_unreadable.py"),
    # ─── what was added to the transaction manager ───
    Mutant("a purchase need bring nothing", "budget.py", "        if gain is not None and gain < least:", "        if False:", "test_tx_guard.py"),
    Mutant("a floor on anything will do", "keeper/protocols/desk.py", " if floor.proof == proof]", "]", "test_tx_guard.py"),
    Mutant("the desk is given no floors", "keeper/protocols/options/adapter.py", "            return ()\n        return (Floor(self._equity,", "            return ()\n        return () and (Floor(self._equity,", "faults/test_min_profit.py"),
    Mutant("a quote need bring nothing", "keeper/protocols/options/adapter.py", "or o.kind not in (*BUYS, Kind.QUOTE)", "or o.kind not in BUYS", "protocol/test_least_profit.py"),
    Mutant("a quote is no purchase", "keeper/protocols/options/adapter.py", "(\"Quotes\", \"cover\"), ", "", "protocol/test_least_profit.py"),
    Mutant("an award is no purchase", "keeper/protocols/options/adapter.py", ", (\"Sealed\", \"award\")", "", "protocol/test_least_profit.py"),
    Mutant("an award is content with the bond", "keeper/protocols/options/adapter.py", " + o.plan.bond - GRAIN", " - GRAIN", "protocol/test_least_profit.py"),
    Mutant("a liquidation is no purchase", "keeper/protocols/morpho_blue/adapter.py", "        return (Incentive(self.settings),)", "        return ()", "test_morpho_terms.py"),
    Mutant("a liquidation may repay nothing", "keeper/protocols/morpho_blue/adapter.py", "offers.least_repaid(*asked)", "0", "test_morpho_terms.py conformance/test_morpho_tokens.py"),
    Mutant("a liquidation in any market will do", "keeper/protocols/morpho_blue/terms.py", "not self.settings.lists(said.market) or ", "", "test_morpho_terms.py"),
    Mutant("what Morpho rounds away is counted", "keeper/protocols/morpho_blue/terms.py", "ROUNDED: Final = 2", "ROUNDED: Final = 0", "test_morpho_terms.py"),
    Mutant("two liquidations on one floor", "keeper/protocols/morpho_blue/terms.py", "if len(bought) != 1 or len(calls) != len(approved) + 1:", "if not bought:", "test_morpho_terms.py"),
    Mutant("collateral that stays behind is counted", "keeper/protocols/morpho_blue/terms.py", "return Fraction(units, seized or units + 1)", "return Fraction(1)", "test_morpho_terms.py"),
    Mutant("what is open is archived", "pruning.py", "WHERE i.settled = 0 OR p.at >= ?", "WHERE p.at >= ?", "test_tx_pruning.py"),
    Mutant("an old term deletes what others need", "keeper/process/lease.py", "leads = self.leads and term == self.epoch and await db.fetchval(OURS, self.subject, term) is not None", "leads = self.leads", "faults/test_lease.py"),
    Mutant("lines are deleted that a host has not read", "keeper/process/lease.py", "seen > clock_timestamp() - make_interval(days => $2)", "$2 > 0 AND journal = 'one'", "faults/test_lease.py"),
    Mutant("nothing is deleted from the store", "keeper/tx/manager.py", "        await lane.fence.forget(lane.term, lane.journal.archived)\n", "", "test_tx_pruning.py"),
    Mutant("who waits learns nothing", "keeper/tx/manager.py", "[] if leads else await self._recover()", "[]", "test_tx_pruning.py"),
    Mutant("a relay's statistics are not asked for", "relay.py", "asyncio.gather(self._bundled(raw, block), self._tell(keccak(raw)))", "asyncio.gather(self._bundled(raw, block), asyncio.sleep(0))", "test_tx_relay.py"),
    Mutant("deleted before it is archived", "journal.py", "            pruning.archive(self.ask, self.path, cut)\n", "            pass\n", "test_tx_pruning.py"),
    Mutant("the archive is not followed", "reading.py", "            if link != previous or seq != count or checkpoints", "            if checkpoints", "test_tx_pruning.py"),
    Mutant("what was archived is taken over again", "journal.py", " and flight.nonce >= archived:", ":", "test_tx_pruning.py"),
    Mutant("nothing is archived", "manager.py", "            events += await self._prune(head)\n", "", "test_tx_pruning.py"),
    Mutant("a relay is not asked to forget", "sender.py", "        await self._withdrawn(relay, flight)\n", "", "test_tx_relay.py"),
    Mutant("a relay's word is not asked for", "sender.py", "        if relay.tells and head.number", "        if False and head.number", "test_tx_relay.py"),
    Mutant("a sequencer that is down is overlooked", "sequencer.py", "        if answer != 0:", "        if False:", "test_tx_sequencer.py"),
    Mutant("no grace after the sequencer came up", "sequencer.py", "head.timestamp - since < self._grace", "False", "test_tx_sequencer.py"),
    Mutant("code that changed is accepted", "keeper/process/upgrades.py", "            self._pause(f\"the {key} has changed\")\n", "", "faults/test_upgrades.py"),
    Mutant("only the first endpoint is recorded", "keeper/bootstrap.py", "pool(chain.rpc.reveal(), standings) for", "pool(chain.rpc.reveal()[:1], standings) for", "faults/test_record.py"),
    Mutant("a commit that failed is sent", "keeper/tx/journal.py", "        except (sqlite3.Error, OverflowError) as error:\n            self._end()\n            self._failure", "        except (sqlite3.Error, OverflowError) as error:\n            return\n            self._failure", "faults/test_disk.py"),
    Mutant("a loop that thinks hears no signal", "keeper/cli/running.py", "    raise SystemExit(0)\n", "", "faults/test_life_thinking.py"),
    Mutant("the working directory comes first", "keeper/__main__.py", "    if here != ours:", "    if False:", "architecture/test_release.py::test_nothing_is_loaded_from_the_working_directory"),
    Mutant("what is signed ahead is not in the journal", "ahead.py", "            self._lane.journal.hold(held)\n", "            pass\n", "test_tx_ahead.py"),
    Mutant("the journal does not let go of what another takes the nonce of", "journal.py", "                writing.let_go(db, flight.nonce if held else None)\n", "                pass\n", "test_tx_ahead.py"),
    Mutant("what was held is not taken up after a kill", "manager.py", "        if (held := journal.take_up()) is not None:", "        if (held := None) is not None:", "test_tx_ahead.py"),
    Mutant("what was taken up is not cancelled", "journal.py", "            first.intent = replace(first.intent, valid_until=0)\n", "            pass\n", "test_tx_ahead.py"),
    Mutant("what left has not begun when it is cut off", "sender.py", "        finally:  # whatever", "        except ZeroDivisionError:  # whatever", "test_tx_ahead.py"),
    Mutant("signed ahead with a key that others have", "ahead.py", "not lane.shared and ", "", "test_tx_ahead.py"),
    Mutant("switch not asked before an intent begins", "manager.py", " or self.lane.level() is not Level.RUN:", ":", "test_tx_ahead.py"),
    Mutant("held bytes leave for any call", "ahead.py", "        return fit and _bytes(first.intent) == _bytes(intent)", "        return fit", "test_tx_ahead.py"),
    Mutant("held bytes leave at any price", "ahead.py", "    return bid.max_fee >= head.next_base_fee + bid.tip", "    return True", "test_tx_ahead.py"),
    Mutant("what never left stays paid for", "ahead.py", "            self._lane.budget.release(", "            (lambda *_: None)(", "test_tx_ahead.py"),
    Mutant("signatures ahead take a minute's all", "ahead.py", " and lane.budget.roomy()", "", "test_tx_ahead.py"),
    Mutant("what is expected for long is in bytes of no moment", "keeper/core/expected.py", "else replace(intent, at=held.at)", "else intent", "unit/test_expected.py"),
    Mutant("bytes are held that will be too old", "keeper/core/expected.py", "if not _late(intent, soon)}", "if intent}", "unit/test_expected.py"),
    Mutant("in a hurry for any call", "manager.py", "if self._ahead.match(intent, head) and self", "if self._ahead and self", "test_tx_ahead.py"),
    Mutant("in a hurry whatever the switch says", "manager.py", "                        self._check_term()\n                        self._hurried", "                        self._hurried", "test_tx_ahead.py"),
    Mutant("what left in a hurry is forgotten", "manager.py", "            events += self._unclaimed()\n", "", "test_tx_ahead.py"),
    Mutant("what is known when the node fails is never told", "manager.py", "            events = self._untold\n", "            events = []\n", "test_tx_ahead.py test_tx_manager.py"),
    Mutant("what a lane has to tell is lost when another's node fails", "lanes.py", "manager.on_block(head), self._untold)", "manager.on_block(head), [])", "test_tx_lanes.py"),
    Mutant("in a hurry with what another lane has sent", "lanes.py", "if self._known(each) is None and not", "if not", "test_tx_lanes.py"),
    Mutant("what left at a glance takes no place", "keeper/core/kernel.py", "        while self._attempts.undecided(", "        while False and self._attempts.undecided(", "unit/test_hurried.py"),
    Mutant("what left at a glance is forgotten at the next", "keeper/core/attempts.py", "        self._hurried |= {", "        self._hurried = {", "unit/test_hurried.py"),
    Mutant("a glance says what is asked of its block", "keeper/chain/follower.py", "        return await self._node.contents(header, filters, reads)\n", "        return await self._node.contents(header, self._filters(), self._reads())\n", "unit/test_early.py"),
    Mutant("between a glance and its block all is as before", "keeper/daemon.py", "expected.\"\"\"\n        self._dealt = None\n", "expected.\"\"\"\n", "unit/test_hurried.py"),
    Mutant("a glance stays in the books", "keeper/core/desk.py", "            desk.book.rollback(before)\n", "            pass\n", "unit/test_hurried.py"),
    Mutant("half of a block is believed", "keeper/chain/pushed.py", "    whole = all(served(header, wanted, logs) for wanted in filters)\n", "    whole = True\n", "unit/test_early.py"),
    Mutant("in a hurry while the sequencer is down", "sequencer.py", "        if not intents or await self._trouble(head):\n", "        if not intents:\n", "test_tx_sequencer.py"),
    Mutant("losses are not counted again", "journal.py", "        self._recount(reverted=True)\n", "", "test_tx_switch.py test_tx_behind.py"),
    Mutant("a revert waits to be written", "lane.py", "(flight.receipt is not None and flight.receipt.ok)", "True", "test_tx_behind.py"),
    Mutant("what was noted is lost at a graceful end", "journal.py", "        self.settle()\n        if self._held", "        if self._held", "test_tx_behind.py"),
    Mutant("simulated with all the gas there is", "trial.py", "at=at, gas=intent.gas_limit)", "at=at)", "test_tx_manager.py"),
)  # fmt: skip


def main(words: list[str]) -> int:
    """How many did not die. ``3/8`` among the words: the third of eight parts."""
    parts = [word for word in words if re.fullmatch(r"\d+/\d+", word)]
    part, of = map(int, parts[0].split("/")) if parts else (1, 1)
    chosen = [m for m in MUTANTS if all(word in m.what for word in words if word not in parts)]
    left = 0
    with TemporaryDirectory(prefix="mutants-") as folder:
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, Path(folder) / name)
        for name in LINKED:
            (Path(folder) / name).symlink_to(ROOT / name)
        for mutant in chosen[part - 1 :: of]:
            verdict = _tried(mutant, Path(folder))
            left += verdict != "died"
            print(f"{verdict:9} {mutant.what}", flush=True)  # noqa: T201
    return left


def _tried(mutant: Mutant, folder: Path) -> str:
    file, tests = folder / mutant.path, mutant.named
    text = file.read_text()
    if text.count(mutant.old) != 1:
        return f"found {text.count(mutant.old)}x"
    if not _passes(folder, tests):
        return "UNPROVEN"  # tests that fail anyway tell nothing
    file.write_text(text.replace(mutant.old, mutant.new))
    try:
        return "SURVIVED" if _run(folder, tests) else "died"
    finally:
        file.write_text(text)


@cache
def _passes(folder: Path, tests: tuple[str, ...]) -> bool:
    """With nothing taken away."""
    return _run(folder, tests)


def _run(folder: Path, tests: tuple[str, ...]) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-o", f"cache_dir={folder}/.cache", *tests]
    here = {**os.environ, "PYTHONPATH": str(folder)}  # before what is installed, wherever a test starts a process
    return subprocess.run(command, cwd=folder, env=here, capture_output=True, timeout=600, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
