"""How a person's notes are worded: labels, sentences, list marks, order, facts nobody asked for."""

# label forms; sentences with {} for the value
WORDINGS = {
    "name": (["name", "my name", "full name", "first name"], ["My name is {}.", "I am {}.", "I am called {}.", "People call me {}."]),
    "partner": (["partner", "husband", "wife", "spouse"], ["My partner is {}.", "I am married to {}.", "My husband is called {}.", "My wife's name is {}."]),
    "child": (["child", "daughter", "son", "kid"], ["My daughter is {}.", "My son is called {}.", "Our child is named {}.", "We have a child, {}."]),
    "sister": (["sister", "brother", "sibling"], ["My sister is {}.", "My brother is called {}.", "I have a sister named {}."]),
    "friend": (["friend", "best friend", "old friend"], ["My best friend is {}.", "My friend is called {}.", "I have known {} since school."]),
    "neighbour": (["neighbour", "neighbor", "next door"], ["My neighbour is {}.", "The neighbour is called {}.", "Next door lives {}."]),
    "city": (["city", "home", "lives in", "town", "home town"], ["I live in {}.", "My home is in {}.", "We live in {}.", "My city is {}."]),
    "trip": (["trip", "holiday", "next trip", "travel plan"], ["My next trip is to {}.", "We are going to {} on holiday.", "I am travelling to {}.", "In summer I go to {}."]),
    "street": (["street", "address"], ["My street is {}.", "Our house is on {}."]),
    "pet": (["pet", "dog", "cat", "dog's name"], ["My dog is called {}.", "I have a cat named {}.", "My pet is {}.", "Our dog's name is {}."]),
    "dish": (["favourite dish", "dish", "favourite food", "favorite food", "likes to eat"], ["My favourite dish is {}.", "I love {} for dinner.", "The food I like best is {}.", "I like to eat {}."]),
    "allergy": (["allergy", "allergic to", "cannot eat"], ["I am allergic to {}.", "My allergy is {}.", "I cannot eat {}.", "I must avoid {}."]),
    "hobby": (["hobby", "hobbies", "free time", "pastime"], ["My hobby is {}.", "I enjoy {}.", "In my free time I like {}.", "On weekends I do {}."]),
    "job": (["job", "work", "profession", "occupation"], ["I work as a {}.", "My job is {}.", "I am a {} by profession.", "By trade I am a {}."]),
    "employer": (["employer", "company", "works at", "workplace"], ["I work at {}.", "My employer is {}.", "My company is {}.", "I work for {}."]),
    "instrument": (["instrument", "plays", "music"], ["I play the {}.", "My instrument is the {}.", "I am learning the {}."]),
    "book": (["favourite book", "book", "reading"], ["My favourite book is {}.", "I am reading {}.", "The book I love is {}."]),
    "drink": (["favourite drink", "drink", "drinks"], ["My favourite drink is {}.", "I like to drink {}.", "I always drink {}."]),
    "flower": (["favourite flower", "flowers", "flower"], ["My favourite flowers are {}.", "I love {} in a vase.", "The flowers I like are {}."]),
    "shop": (["shop", "favourite shop", "store"], ["I usually shop at {}.", "My favourite shop is {}.", "I buy my food at {}."]),
    "birthday": (["birthday", "date of birth", "born"], ["My birthday is {}.", "I was born on {}.", "My birthday is on {}."]),
    "phone": (["phone", "phone number", "mobile", "tel"], ["My phone number is {}.", "Call me on {}.", "My number is {}."]),
}

LABEL_LINES = ["{label}: {{}}"] * 5 + ["{label} - {{}}", "{label} = {{}}", "My {label} is {{}}.", "my {label}: {{}}",
                                       "The {label} is {{}}."]


def _line(rng, kind, sentences_only):
    labels, sentences = WORDINGS[kind]
    if sentences_only or rng.random() < 0.5:
        return rng.choice(sentences)
    label = rng.choice(labels)
    if rng.random() < 0.35:
        label = label[0].upper() + label[1:]
    return rng.choice(LABEL_LINES).format(label=label)


def render_notes(rng, facts):
    """The notes text for a list of (kind, value), in the order given."""
    paragraph = rng.random() < 0.2
    mark = rng.choice(["", "", "", "", "- ", "* "])
    lines = [_line(rng, kind, paragraph).replace("{}", value) for kind, value in facts]
    if paragraph:
        return " ".join(lines)
    heading = rng.choice(["", "", "", "", "My notes\n", "Notes:\n", "About me:\n", "# About me\n", "Facts about me\n"])
    return heading + "\n".join(mark + line for line in lines)
