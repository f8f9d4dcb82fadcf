"""The shapes of requests and answers, a module for each noun.

They validate what comes in, and OpenAPI is made from them.
"""
