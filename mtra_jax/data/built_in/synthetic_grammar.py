"""Words and sentence frames of the benchmark `synthetic`.

A string holds words separated by blanks; earlier words are drawn more often.
"""

TOPICS = {
    "food": "pizza pasta coffee soup burger curry bread salad ramen taco omelette",
    "travel": "train flight airport bus hotel ferry taxi beach tram cruise motorway",
    "tech": "phone laptop app update battery wifi screen keyboard website tablet printer",
    "sport": "match coach goalkeeper stadium team referee striker league derby captain",
}
# Words by polarity, then by strength: 1, 2 or 3 of at most 4.
STRENGTHS = (1.0, 2.0, 3.0)
ADJECTIVES = {
    +1: (
        "nice fine decent pleasant okay solid",
        "good great lovely charming cool delightful",
        "amazing brilliant fantastic perfect superb stunning",
    ),
    -1: (
        "dull weak bland tiresome mediocre clumsy",
        "bad poor annoying sad nasty lousy",
        "awful terrible horrible disgusting dreadful vile",
    ),
}
VERBS = {
    +1: ("like appreciate", "enjoy love", "adore worship"),
    -1: ("dislike question", "hate resent", "despise loathe"),
}
FEELINGS = {"adjective": ADJECTIVES, "verb": VERBS}
# Words by the factor with which they multiply the strength.
DEGREES = {
    0.5: ("slightly", "kind of", "somewhat"),
    1.0: ("",),
    1.3: ("really", "truly", "totally", "absolutely"),
}
NEGATORS = {
    "adjective": ("not", "hardly", "never", "far from"),
    "verb": ("do not", "hardly", "never"),
}
NEGATION_DAMPING, EXCLAMATION = 0.7, 0.6

OWN_FRAMES = {
    "adjective": (
        "the {thing} is {phrase}",
        "the {thing} was {phrase}",
        "i find the {thing} {phrase}",
        "this {thing} feels {phrase}",
        "my {thing} looks {phrase}",
        "to me the {thing} is {phrase}",
        "{phrase} {thing} if you ask me",
    ),
    "verb": (
        "i {phrase} the {thing}",
        "i {phrase} this {thing}",
        "i {phrase} my {thing}",
    ),
}
OTHERS_FRAMES = {
    "adjective": (
        "{other} says the {thing} is {phrase}",
        "{other} finds the {thing} {phrase}",
        "according to {other} the {thing} was {phrase}",
    ),
    "verb": (
        "those around {other} {phrase} the {thing}",
        "{other} and friends {phrase} this {thing}",
    ),
}
REACTIONS = {
    "adjective": ("oh {phrase}", "this is {phrase}", "{phrase} start of the day"),
    "verb": ("i {phrase} this", "i {phrase} days like that"),
}
# Events by valence; most of their words occur in good and in bad events.
EVENTS = {
    +1: (
        "got fixed overnight",
        "came hours early",
        "cost half as much today",
        "came with a gift",
        "went right again",
        "was not cancelled after all",
    ),
    -1: (
        "got wrecked overnight",
        "came hours late",
        "cost twice as much today",
        "came with a fine",
        "went wrong again",
        "was cancelled after all",
    ),
}
FACTS = (
    "i saw the {thing} {place}",
    "took a picture of the {thing} {place}",
    "there is one more {thing} {place}",
    "reading about the {thing} {place}",
    "we talked about the {thing} {place}",
    "{other} showed me the {thing} {place}",
)
CONTRASTS = (
    "{conceded} but {counted}",
    "although {conceded}, {counted}",
    "{counted} even if {conceded}",
    "i used to say {conceded}, now {counted}",
)
OTHERS = [
    "my sister",
    "my boss",
    "my neighbour",
    "my dad",
    "@user",
    "everyone",
    "the whole office",
    "some guy",
    "the press",
    "grandma",
]
PLACES = [
    "this morning",
    "after work",
    "on monday",
    "at noon",
    "last night",
    "before the rain",
    "near my place",
]
OPENERS = [
    "ok so",
    "honestly",
    "just saying",
    "lol",
    "morning all",
    "hot take:",
    "@user",
    "@user @user",
    "fyi",
    "well",
    "day two:",
    "long story short:",
    "thread:",
    "quick note:",
]
CLOSERS = [
    "back to work now",
    "see you all tomorrow",
    "rain outside again",
    "need more sleep",
    "more later",
    "that is all",
    "so it goes",
    "tell me about yours",
    "off to bed",
    "who else?",
    "what a week",
]
HASHTAGS = [
    "#monday",
    "#life",
    "#nofilter",
    "#truth",
    "#weekend",
    "#random",
    "#mood",
    "#tbt",
]
EMOJI = ["😀", "😂", "🙃", "😭", "🔥", "👍", "🤔", "✨", "🙈"]
