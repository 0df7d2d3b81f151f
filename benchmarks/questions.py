"""What fidelity.py asks: fifty questions for everything, and more of the same kinds for a share that does not hang on single ones."""

QUESTIONS = [
    *(f"What is the capital of {place}?" for place in ("France", "Japan", "Canada", "Egypt", "Brazil", "Norway", "India", "Peru")),
    *(f"Explain {thing} to a child." for thing in ("photosynthesis", "gravity", "money", "rain", "electricity", "the moon", "sleep")),
    *(f"Write a Python function that {task}." for task in ("reverses a string", "adds two numbers", "counts vowels", "sorts a list")),
    *(f"List three {things}." for things in ("fruits", "planets", "kinds of trees", "musical instruments", "reasons to read", "rivers")),
    *(f"Who {did}?" for did in ("wrote Hamlet", "painted the Mona Lisa", "discovered penicillin", "was the first person on the Moon")),
    *(f"Translate '{words}' into Spanish." for words in ("good morning", "thank you", "where is the station", "the cat is black")),
    *(
        f"What is {sum}?"
        for sum in ("12 times 7", "the square root of 81", "15 percent of 200", "100 divided by 8", "2 to the power of 10")
    ),
    *(f"Give me a recipe for {dish}." for dish in ("pancakes", "tomato soup", "bread", "a green salad")),
    *(f"Why {is_so}?" for is_so in ("is the sky blue", "do leaves fall", "is the sea salty", "do cats purr", "does ice float")),
    *(f"Summarise the plot of {work}." for work in ("Romeo and Juliet", "Moby-Dick", "Don Quixote")),
]

MORE_QUESTIONS = [
    *(
        f"What is the capital of {p}?"
        for p in (
            "Spain",
            "Italy",
            "Germany",
            "Kenya",
            "Mexico",
            "Sweden",
            "China",
            "Chile",
            "Poland",
            "Greece",
            "Turkey",
            "Ghana",
            "Cuba",
            "Iran",
            "Laos",
            "Fiji",
        )
    ),
    *(
        f"Explain {t} to a child."
        for t in (
            "magnets",
            "rainbows",
            "the heart",
            "snow",
            "volcanoes",
            "the internet",
            "bees",
            "dreams",
            "time",
            "wind",
            "shadows",
            "germs",
            "taxes",
            "planets",
            "music",
        )
    ),
    *(
        f"Write a Python function that {t}."
        for t in (
            "finds the largest number in a list",
            "checks if a word is a palindrome",
            "computes a factorial",
            "removes duplicates",
            "counts words",
            "converts Celsius to Fahrenheit",
            "merges two lists",
            "checks if a number is prime",
            "reads a file",
            "squares every number",
            "computes the mean",
            "finds the longest word",
        )
    ),
    *(
        f"List three {t}."
        for t in (
            "colours",
            "animals of the sea",
            "countries in Europe",
            "sports",
            "famous painters",
            "vegetables",
            "programming languages",
            "ways to save water",
            "birds",
            "kinds of clouds",
            "oceans",
            "board games",
            "inventions",
            "flowers",
            "famous bridges",
            "healthy breakfasts",
        )
    ),
    *(
        f"Who {t}?"
        for t in (
            "invented the telephone",
            "wrote War and Peace",
            "discovered America",
            "composed the Ninth Symphony",
            "was the first president of the United States",
            "wrote The Odyssey",
            "founded Rome",
            "discovered radium",
            "wrote Pride and Prejudice",
            "invented the printing press",
            "painted Guernica",
            "discovered gravity",
        )
    ),
    *(
        f"Translate '{t}' into {language}."
        for t in ("good night", "I am hungry", "the house is red", "how are you", "see you tomorrow")
        for language in ("French", "German", "Italian")
    ),
    *(
        f"What is {t}?"
        for t in (
            "7 plus 15",
            "9 times 9",
            "144 divided by 12",
            "the square root of 49",
            "20 percent of 50",
            "3 to the power of 4",
            "half of 86",
            "1000 minus 357",
            "the sum of 1 to 10",
            "photosynthesis",
            "inflation",
            "a neural network",
            "an atom",
            "democracy",
            "gravity",
            "a verb",
            "the Pythagorean theorem",
            "DNA",
            "a black hole",
            "an ecosystem",
        )
    ),
    *(
        f"Give me a recipe for {t}."
        for t in (
            "an omelette",
            "lentil soup",
            "chocolate cake",
            "fried rice",
            "lemonade",
            "pasta with garlic",
            "apple pie",
            "guacamole",
            "an egg salad",
            "roast potatoes",
        )
    ),
    *(
        f"Why {t}?"
        for t in (
            "do we sleep",
            "is grass green",
            "do birds migrate",
            "does metal rust",
            "do we have seasons",
            "do dogs bark",
            "is ice slippery",
            "do stars twinkle",
            "do volcanoes erupt",
            "do we yawn",
            "is honey sweet",
            "do onions make us cry",
        )
    ),
    *(
        f"Summarise the plot of {t}."
        for t in ("Hamlet", "The Odyssey", "Robinson Crusoe", "Frankenstein", "Cinderella", "Dracula", "Macbeth", "Treasure Island")
    ),
    *(f"Write a short poem about {t}." for t in ("the sea", "autumn", "a cat", "the night", "a train", "friendship", "rain", "a garden")),
    *(
        f"Give me advice on {t}."
        for t in (
            "learning a language",
            "saving money",
            "sleeping better",
            "a job interview",
            "making friends",
            "studying for exams",
            "running a marathon",
            "public speaking",
            "growing tomatoes",
            "writing a letter",
        )
    ),
    *(
        f"Describe {t} in one sentence."
        for t in (
            "a sunset",
            "Paris",
            "a computer",
            "winter",
            "a good teacher",
            "the desert",
            "an elephant",
            "a library",
            "democracy",
            "a storm",
        )
    ),
    *(
        f"How do I {t}?"
        for t in (
            "boil an egg",
            "change a tyre",
            "tie a tie",
            "plant a tree",
            "clean a window",
            "write a resume",
            "make coffee",
            "fix a leaking tap",
            "start a fire",
            "take a good photo",
            "learn the guitar",
            "train a puppy",
        )
    ),
    *(
        f"What are the advantages of {t}?"
        for t in (
            "solar power",
            "reading",
            "public transport",
            "exercise",
            "learning music",
            "remote work",
            "vaccines",
            "recycling",
            "cooking at home",
            "team work",
        )
    ),
    *(
        f"Tell me a fact about {t}."
        for t in (
            "whales",
            "the Moon",
            "Japan",
            "honey",
            "the human brain",
            "ants",
            "Mars",
            "gold",
            "penguins",
            "the Nile",
            "coffee",
            "trees",
        )
    ),
]
