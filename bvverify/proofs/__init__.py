"""Proofs by an SMT solver that lowering computed the thresholds that an engine's float32 pipeline has."""

from bvverify.proofs.obligation import Obligation
from bvverify.proofs.obligations import channel_obligation, obligations
from bvverify.proofs.prove import Proof, prove
from bvverify.proofs.store import Store

__all__ = ["Obligation", "Proof", "Store", "channel_obligation", "obligations", "prove"]
