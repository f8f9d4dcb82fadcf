"""The genres of the demo world: for each its label, its scene and the words on its shelf.

One table, `GENRES`: a new genre is one more row. Knows nothing of viewers, files or video.
"""

from dataclasses import dataclass

from data.demo import characters, games, landscapes, photographs
from data.demo.drawing import Scene
from data.demo.photographs import Photograph

SKIMAGE, SKLEARN = "skimage/data", "sklearn/datasets/images"


@dataclass(frozen=True)
class Genre:
    """One kind of video. `label` is the category that the catalogue and the classifier know."""

    label: str
    scene: Scene
    creators: tuple[str, ...]
    tags: tuple[str, ...]
    titles: tuple[str, ...]
    openings: tuple[str, ...]  # the first sentence of a description
    endings: tuple[str, ...]  # and the second
    series: str | None = None  # the first clips of the genre are its episodes
    episodes: int = 0
    rating: int | None = None  # minimum age in years of some of its clips
    #: How much viewers of a country prefer it, as a logarithm of odds; countries not named: 0.
    countries: tuple[tuple[str, float], ...] = ()


def lines(text: str) -> tuple[str, ...]:
    """The parts of a text between vertical bars."""
    return tuple(" ".join(part.split()) for part in text.split("|"))


GENRES: tuple[Genre, ...] = (
    Genre(
        "cats",
        photographs.moving([Photograph(SKIMAGE, "chelsea.png", smallest=0.6)]),
        ("Whisker House", "Paws & Patience"),
        ("cat", "pets", "animals", "cute", "close-up", "tabby", "home", "calm"),
        lines("""
            Chelsea Looks Away | The Art of the Stare | Nine Minutes to Dinner | Whiskers at Golden Hour
            | A Tabby Thinks | Quiet Paws | What the Cat Saw | Green Eyes | Sunday with Chelsea | The
            Window Guard | Slow Blink | Velvet Nose | The Nap That Never Was | House Tiger
        """),
        lines("""
            A tabby with remarkable eyes decides whether you deserve her attention. | We sit with a cat
            until she forgets the camera. | Every whisker tells a story when you look this closely. |
            One cat, one sofa and no plans at all.
        """),
        lines("""
            Put it on and breathe out. | Filmed at home in soft light. | For everyone who is owned by a
            cat. | No music, only presence.
        """),
        series="A Cat's Day",
        episodes=4,
        countries=(("JP", 0.7), ("DE", 0.2)),
    ),
    Genre(
        "coffee",
        photographs.moving([Photograph(SKIMAGE, "coffee.png", smallest=0.5)]),
        ("Third Wave Kitchen", "Barista Lena"),
        ("coffee", "espresso", "barista", "cafe", "drinks", "morning", "cup", "food"),
        lines("""
            The Morning Pour | Crema | Espresso for Beginners | A Table by the Window | Twenty-Five
            Seconds | Red Cup Stories | Slow Coffee | The Last Sip | Cafe on the Corner | Beans from
            Huehuetenango | Ristretto or Lungo | Coffee Before Words | The Perfect Saucer | Steam
        """),
        lines("""
            A freshly pulled espresso, a wooden table and time to look at both. | Our barista explains
            what the crema tells you about the roast. | We visit a small cafe before it opens. | Grind,
            dose and patience: the three things that matter.
        """),
        lines("""
            Best watched with a cup in your hand. | Includes the recipe. | Warm colours for a cold
            morning. | You will smell it through the screen.
        """),
        series="Coffee School",
        episodes=5,
        countries=(("BR", 0.6), ("DE", 0.3), ("FR", 0.3)),
    ),
    Genre(
        "deep space",
        photographs.starfield(
            Photograph(SKIMAGE, "hubble_deep_field.jpg", smallest=0.4), Photograph(SKIMAGE, "moon.png")
        ),
        ("Parsec Films", "Night Sky Lab"),
        ("space", "galaxies", "astronomy", "stars", "planets", "science", "universe", "telescope"),
        lines("""
            Ten Thousand Galaxies | The Deep Field | A Moon Without a Name | Light from Before |
            Drifting Past Kepler | The Quiet Between Stars | Red Shift | Postcards from Orbit | Where
            the Map Ends | Silent Worlds | Crater Country | Starlight Express | The Long Exposure | Far
            Side
        """),
        lines("""
            Each speck in this picture is a galaxy of its own. | We fly past worlds that nobody has
            visited. | A telescope stared at nothing for ten days and found everything. | What a small
            moon teaches about large beginnings.
        """),
        lines("""
            Dim the lights first. | With numbers that stay with you. | A short journey over thirteen
            billion years. | Narrated by the people who took the pictures.
        """),
        series="Worlds Apart",
        episodes=5,
        countries=(("US", 0.3), ("IN", 0.4)),
    ),
    Genre(
        "spaceflight",
        photographs.moving(
            [
                Photograph(SKIMAGE, "rocket.jpg", smallest=0.5),
                Photograph(SKIMAGE, "rocket.jpg", smallest=0.75),
                Photograph(SKIMAGE, "astronaut.png", focus=(0.0, 0.0, 1.0, 0.7), smallest=0.7),
            ]
        ),
        ("Launch Window", "Parsec Films"),
        ("rocket", "launch", "astronaut", "space", "engineering", "spaceflight", "history", "technology"),
        lines("""
            T Minus Ten | The Night Before Launch | Commander | Fuel and Fire | Eight Minutes to Orbit |
            The White Suit | Pad 40 at Dusk | Ready to Fly | Clear the Tower | Countdown Hold | Training
            for Weightlessness | The First Stage | Go for Launch | Home Is Down There
        """),
        lines("""
            A rocket waits in floodlight while the crew tries to sleep. | An astronaut remembers the day
            she got the call. | The last hours on the pad, minute by minute. | What it takes to leave
            the ground.
        """),
        lines("""
            With footage from the tower. | Turn the sound up. | A portrait of people who do not blink. |
            For everyone who still looks up.
        """),
        series="Countdown",
        episodes=4,
        countries=(("US", 0.6), ("IN", 0.3)),
    ),
    Genre(
        "motorcycles",
        photographs.moving(
            [
                Photograph(SKIMAGE, f"motorcycle_{eye}.png", (0.1, 0.15, 0.95, 1.0), 0.55, False, hues)
                for eye, hues in (("left", (0.0, 0.0, 0.12, 0.33, 0.6, 0.75)), ("right", (0.0, 0.6, 0.45, 0.12)))
            ]
        ),
        ("Garage 59", "Two Wheels Slow"),
        ("motorcycle", "garage", "engine", "restoration", "vehicles", "chrome", "workshop", "diy"),
        lines("""
            The Barn Find | Chrome and Patience | First Kick | Rebuilding the Virago | Oil Change at
            Midnight | Two Cylinders | The Red Tank | Garage Light | Spokes | A Seat for One | Cold
            Start | Torque | The Test Ride | Cafe Racer, Week One
        """),
        lines("""
            An old motorcycle comes back to life in a small garage. | We take the engine apart and
            explain every piece of it. | New paint, old soul: the tank gets its colour. | Some noises
            are worth getting dirty for.
        """),
        lines("""
            All torque values are in the notes. | Wear gloves. | Part of a restoration in real time. |
            No shortcuts were taken.
        """),
        series="The Rebuild",
        episodes=6,
        rating=12,
        countries=(("US", 0.3), ("BR", 0.3), ("IN", 0.3)),
    ),
    Genre(
        "temples",
        photographs.moving([Photograph(SKLEARN, "china.jpg", focus=(0.04, 0.0, 0.85, 1.0), smallest=0.6)]),
        ("Far Roads", "Stone & Story"),
        ("travel", "architecture", "temple", "china", "history", "culture", "lake", "pagoda"),
        lines("""
            The Tower above the Lake | Summer Palace Morning | Roofs of Jade | A Walk to the Pagoda |
            Eight Corners | The Emperor's View | Mist on Kunming Lake | Painted Beams | Temple of
            Incense | Before the Crowds | The Long Gallery | Stairs to the Sky | Beijing in Autumn |
            Carved in Red
        """),
        lines("""
            A tower of painted wood looks over a lake since three hundred years. | We climb before
            sunrise and have the terrace to ourselves. | An architect reads the roof like a book. | The
            colours have meanings, and so has every corner.
        """),
        lines("""
            With a map in the notes. | Take the slow way up. | Restored in 1893, loved ever since. | A
            quiet film about a loud place.
        """),
        series="Far Roads",
        episodes=4,
        countries=(("JP", 0.4), ("FR", 0.3)),
    ),
    Genre(
        "flowers",
        photographs.moving(
            [
                Photograph(SKLEARN, "flower.jpg", (0.2, 0.05, 0.95, 1.0), 0.5, False, hues)
                for hues in ((0.0, 0.0, 0.05, 0.88, 0.8, 0.93, 0.7),)
            ]
        ),
        ("The Patient Gardener", "Petal Diary"),
        ("garden", "flowers", "dahlia", "nature", "plants", "bloom", "macro", "relaxing"),
        lines("""
            Dahlia Season | The Geometry of Petals | After the Rain | A Garden in September | Blush |
            One Hundred Petals | The Cutting Bed | How to Divide a Tuber | First Bloom | Orange against
            Green | The Flower Show | Late Summer | Bees Were Here | Pompon
        """),
        lines("""
            A single dahlia opens, and there is nothing else to see. | The gardener shows how to keep
            them blooming until frost. | Petals arranged by mathematics, coloured by chance. | We follow
            one bed from bud to seed.
        """),
        lines("""
            Watch it full screen. | Planting dates are in the notes. | Green thumbs are learned, not
            born. | Five calm seconds for your eyes.
        """),
        series="Garden Year",
        episodes=4,
        countries=(("FR", 0.4), ("JP", 0.4), ("GB", 0.5)),
    ),
    Genre(
        "microscopy",
        photographs.moving(
            [
                Photograph(SKIMAGE, "ihc.png", smallest=0.5),
                Photograph(SKIMAGE, "retina.jpg", focus=(0.12, 0.12, 0.88, 0.88), smallest=0.5),
                Photograph(SKIMAGE, "cell.png", focus=(0.45, 0.35, 1.0, 0.8), smallest=0.6, toned=True),
            ]
        ),
        ("Lens & Slide", "Dr. Okafor Explains"),
        ("science", "microscope", "biology", "medicine", "cells", "anatomy", "education", "macro"),
        lines("""
            Inside the Eye | Stained Glass Cells | Rivers of the Retina | One Cell | The Pathologist's
            Morning | Four Hundred Times Larger | Tissue | What the Slide Shows | Blue Nuclei | The
            Blind Spot | Membranes | A Map of Vessels | Under Glass | Small Wonders
        """),
        lines("""
            A thin slice of tissue turns into a landscape. | Doctors read the back of the eye like a
            weather map. | What looks like abstract painting keeps you alive. | We zoom in until the
            body becomes a place.
        """),
        lines("""
            Explained in plain words. | Suitable for school from grade nine. | With thanks to the
            imaging lab. | You will never look at it the same way.
        """),
        series="Under Glass",
        episodes=4,
        rating=12,
        countries=(("IN", 0.5), ("DE", 0.2)),
    ),
    Genre(
        "city nights",
        landscapes.city_night,
        ("Neon Hours", "Last Tram Home"),
        ("city", "night", "skyline", "lights", "urban", "cars", "animation", "lofi"),
        lines("""
            Lights Stay On | Downtown, 2 a.m. | The Moon over Block 9 | Night Shift | Windows | Last
            Tram | Midnight Avenue | Neon Lullaby | Ten Floors Up | City That Hums | Taxi Waltz | After
            the Concert | Rooftop Season | Blue Hour
        """),
        lines("""
            Behind each lit window somebody has a reason to be awake. | The traffic thins out and the
            city begins to breathe. | A slow drive past towers, signs and a very large moon. | One
            street, a thousand windows, no hurry.
        """),
        lines("""
            Made for headphones. | Loops well while you work. | Every light was placed by hand, more or
            less. | Good night.
        """),
        series="Night Lines",
        episodes=5,
        countries=(("JP", 0.5), ("US", 0.3), ("BR", 0.2)),
    ),
    Genre(
        "ocean",
        landscapes.ocean,
        ("Blue Fathom", "Reef Stories"),
        ("ocean", "underwater", "fish", "reef", "sea", "nature", "bubbles", "diving"),
        lines("""
            The Reef at Noon | Small Fry | Twelve Metres Down | Rays of Light | The Kelp Garden |
            Bubbles Rising | A School on the Move | Coral Neighbours | Slow Current | Salt Water Days |
            The Yellow Ones | Breathing Under Water | Tide Pool Tales | Deep Blue Afternoon
        """),
        lines("""
            A shoal crosses the light and is gone. | Down here, everybody knows everybody. | The diver
            holds still and the reef forgets about her. | Follow the bubbles to where the day is blue.
        """),
        lines("""
            No fish was disturbed. | Calm water, calm mind. | Children love this one. | With names of
            all the species.
        """),
        series="Reef Stories",
        episodes=5,
        countries=(("BR", 0.3), ("GB", 0.3)),
    ),
    Genre(
        "kinetic art",
        characters.geometry,
        ("Studio Parallax", "Loop Theory"),
        ("abstract", "geometry", "motion", "design", "animation", "pattern", "generative", "art"),
        lines("""
            Study in Four Inks | Hexagon Tide | Orbit No. 7 | The Grid Wakes | Turning Triangles |
            Counterpoint | Phase | Soft Machines | Interference | Ring Song | Square Dance | Modulor |
            Waves, Folded | Permutation
        """),
        lines("""
            Simple shapes, one rule, endless variety. | Colours chase each other along a line that is
            not there. | What a circle dreams about when nobody looks. | A generative piece made from
            sines and patience.
        """),
        lines("""
            The code is eleven lines long. | Shown at a gallery in Lisbon. | Best on a large screen. |
            Loops without a seam, almost.
        """),
        series="Four Inks",
        episodes=4,
        countries=(("DE", 0.4), ("JP", 0.2), ("FR", 0.2)),
    ),
    Genre(
        "mountains",
        landscapes.mountains,
        ("Ridge Line", "Slow Horizon"),
        ("mountains", "landscape", "sunset", "nature", "forest", "hiking", "outdoors", "ambient"),
        lines("""
            Evening on the Ridge | Seven Hills | The Pass at Dawn | Pines | Haze | Above the Tree Line |
            A Long Way Down | Birds over the Valley | Last Light | The Quiet Trail | Alpenglow | Cloud
            Inversion | North Face Morning | Where the Path Bends
        """),
        lines("""
            The sun settles behind the fifth ridge and takes its time. | Walk along the tree line while
            the valley fills with haze. | No people, no roads, only hills behind hills. | An hour of
            evening, condensed.
        """),
        lines("""
            Pack a jacket. | Drawn from memory of the Carpathians. | Background for a slow afternoon. |
            The birds are real in spirit.
        """),
        series="Seven Hills",
        episodes=4,
        countries=(("DE", 0.5), ("FR", 0.3), ("US", 0.2)),
    ),
    Genre(
        "cartoons",
        characters.cartoon,
        ("Bouncy Meadow", "Studio Kikko"),
        ("cartoon", "kids", "animation", "family", "funny", "friends", "colourful", "characters"),
        lines("""
            Bim Learns to Jump | The Picnic Problem | Three Friends and a Cloud | Momo's Big Morning |
            Who Ate the Sun? | Hop! | The Giggle Hill | Pip Is Not Sleepy | A Hat for Bim | The Wobbly
            Race | Momo Makes a Friend | Rain Boots | Good Night, Meadow | The Bounciest Day
        """),
        lines("""
            Bim, Momo and Pip find out that jumping is easier together. | It is a sunny day in the
            meadow, and something is about to go wrong. | A very small problem meets a very round hero.
            | Nobody on Giggle Hill can stand still today.
        """),
        lines("""
            For children from two years. | Ends well, as always. | Sing along in the kitchen. | Made
            with love and squash and stretch.
        """),
        series="Bim & Momo",
        episodes=7,
        rating=0,
        countries=(("BR", 0.4), ("IN", 0.4), ("JP", 0.3)),
    ),
    Genre(
        "chess",
        games.chess,
        ("The Sixty-Four", "Endgame Club"),
        ("chess", "board games", "strategy", "game", "tactics", "tournament", "thinking", "endgame"),
        lines("""
            The Quiet Move | Rook Lift | A Knight on the Rim | Sicilian Evenings | Zugzwang | The
            Exchange Sacrifice | King Walk | Opposite Bishops | Move Forty | Pawn Storm | The Immortal
            Draw | Fork! | A Lesson from Capablanca | Blitz after Midnight
        """),
        lines("""
            White to move, and one of the moves is beautiful. | A club player finds what the engine
            overlooked. | Two friends, one board and a rivalry of thirty years. | We look at a position
            until it gives up its secret.
        """),
        lines("""
            Pause before the solution. | Rated for improvers. | The full game is in the notes. | No
            gambit was declined.
        """),
        series="Chess in Five",
        episodes=6,
        countries=(("IN", 0.6), ("DE", 0.3), ("US", 0.2)),
    ),
    Genre(
        "rainy roads",
        landscapes.rainy_road,
        ("Wiper Speed Two", "Last Tram Home"),
        ("driving", "rain", "night", "road", "relaxing", "asmr", "sleep", "weather"),
        lines("""
            Rain on the A7 | Home before Midnight | Wet Asphalt | The Long Way Back | Windscreen Lullaby
            | Exit 42 | Tail Lights | Storm Behind Us | Coast Road, November | Two Lanes of Silver |
            Drive until the Song Ends | Petrol Station Coffee | Headlights | Drizzle
        """),
        lines("""
            Rain on glass, lights on water, nobody on the phone. | A night drive out of the city with
            the heater on. | The road shines, and the wipers keep the time. | Somewhere ahead, a pair of
            tail lights leads the way.
        """),
        lines("""
            Helps you fall asleep, so do not drive. | Recorded on one very wet night. | Best with the
            lights off. | No destination needed.
        """),
        series="Night Drive",
        episodes=4,
        countries=(("GB", 0.5), ("US", 0.3)),
    ),
    Genre(
        "football",
        games.football,
        ("Second Half", "Corner Flag TV"),
        ("football", "soccer", "sports", "match", "stadium", "goal", "highlights", "team"),
        lines("""
            Derby Night | Ninety Plus Four | The Through Ball | Under the Lights | Total Passing | A
            Club from Nowhere | Centre Circle | Box to Box | The Number Ten | Away End | Pressing High |
            Penalty Heartbreak | Cup Upset | Kick-Off
        """),
        lines("""
            Two teams, full stands and one pass that opens everything. | The coach draws arrows, the
            players ignore them. | We analyse the move that decided the season. | Second division
            football with first division noise.
        """),
        lines("""
            Highlights in one take. | Heart rates were measured. | The result is not in the title. |
            Bring a scarf.
        """),
        series="Matchday",
        episodes=6,
        countries=(("BR", 0.9), ("GB", 0.6), ("DE", 0.4), ("FR", 0.3), ("US", -0.4)),
    ),
)
