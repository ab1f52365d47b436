"""Synthetic Amazon-M2: sessions and products that look like the released ones, made offline from a seed."""

from llmrec.data.synth.build import is_current, synthesize
from llmrec.data.synth.measure import Figure, measure_synthetic
from llmrec.data.synth.report import render_report, write_report

__all__ = ["Figure", "is_current", "measure_synthetic", "render_report", "synthesize", "write_report"]
