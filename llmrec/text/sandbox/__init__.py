"""Jinja templates that we did not write, rendered within limits: steps, text, nesting and time.

Jinja's sandbox keeps a template from Python's insides, not from running for ever or from filling the memory. Here a
template is changed before it is compiled (`limited`): every loop pays for its rounds before it begins; filters, tests,
calls, operators, slices and outputs pay for the text that they make, and what could make much of little is asked how
much before it runs. A render's account (`account`) lies in its own context: threads and processes share nothing.
A template of which it can be seen that it takes little (`tame`) pays nothing, and is as fast as without limits.
"""
