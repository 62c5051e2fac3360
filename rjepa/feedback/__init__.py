"""What users say of answers: kept with consent, filtered, chosen for training, deleted.

    tables, records     what is kept, as rows and as values
    tickets             proof that an answer was given, whichever process gave it
    redaction           what is taken out of a text before anything is kept
    interactions        keep, find, export and delete answers with their questions
    votes, reviews      what the user said of an answer, what an operator decided
    consent             the words of consent, opting out, workspaces
    audit               who did what and when, without any content
    examples            problems with solutions that an operator gives
    known, evidence     what the home knows of a question, gathered for a decision
    crowd, decisions    what many interactions say together; outcomes, reasons, thresholds
    selection           accepted, rejected, to review or refused, each with its reason. Pure
    snapshot            accepted interactions as a registered, immutable data set

`serving.feedback` takes feedback in over HTTP. `rjepa.living` trains on what was accepted.
"""
