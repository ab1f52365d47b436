"""Synthetic Amazon-M2: sessions and products that look like the released ones, made offline from a seed."""

from llmrec.synth.build import is_current, synthesize
from llmrec.synth.measure import Figure, measure_synthetic
from llmrec.synth.report import render_report, write_report

__all__ = ["Figure", "is_current", "measure_synthetic", "render_report", "synthesize", "write_report"]
