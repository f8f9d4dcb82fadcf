"""The second stage: candidates in the order that viewers' own choices taught.

`features` computes what is known of a candidate, `ranker` learns from it; neither knows where candidates come from.
"""
