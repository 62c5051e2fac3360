"""What an operator sees of learning and does to it: look, switch, begin a night, add an example, take weights out.

    place       where: the home, its LLM, its database and Dagster's web server
    state       what learning is doing, what the last night came to, what is missing to the next
    acting      enable, disable, change, reset; begin a night
    examples    an operator's own examples

The HTTP routes (`serving.learning`), the MCP tools (`serving.tools`) and `rjepa learning` say the same through here.
What a night does is `rjepa.living`'s matter, and runs in Dagster alone.
"""
