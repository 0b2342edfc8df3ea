"""One HTML page about a run or an evaluation, with everything inside it.

Its maker, ``meta_train.report.page.make``, is imported by its own name: it needs Jinja.
"""
