"""What an operator sees of learning and does to it: look, switch, begin a night, add an example, take weights out.

    place       where: the home, its LLM, its database and Dagster's web server
    state       everything that an operator looks at, in one value
    coming      whether a night may begin now, and what is missing to it
    figures     nights, feedback and releases, counted
    live        how the answers of late did, release by release
    weights     which release is served
    acting      enable, disable, change, reset; begin a night
    examples    an operator's own examples
    exporting   a release and its student as files for other programs

The HTTP routes (`serving.learning`), the MCP tools (`serving.tools`) and `rjepa living` say the same through here.
What a night does is `rjepa.living`'s matter, and runs in Dagster alone.
"""
