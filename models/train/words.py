"""Ordinary words for fact values, split into a training part and a held-out part.

The held-out part is never seen by a model: not in notes, not in answers, not in the
tokenizer's corpus. `values.py` enforces that with a filter and `test_data.py` checks it.
"""


def _split(text):
    return [item.strip() for item in text.replace("\n", " ").split(",") if item.strip()]


TRAIN = {
    "person": _split("""
Anna, Ben, Clara, David, Emma, Felix, Greta, Henry, Ida, Jonas, Karin, Leo, Maria, Nils, Olga, Paul,
Quentin, Rosa, Simon, Tara, Ulrich, Vera, Walter, Xenia, Yusuf, Zoe, Agnes, Bruno, Carmen, Dmitri, Elif,
Farid, Gina, Hassan, Irene, Jasper, Kemal, Laura, Mateo, Nadia, Oscar, Petra, Rahul, Sofia, Tomas, Ursula,
Viktor, Wanda, Yara, Zlatan, Aisha, Boris, Cecilia, Diego, Esther, Frank, Gloria, Hugo, Isabel, Jakob,
Katja, Lucas, Mina, Noah, Ophelia, Pedro, Rita, Samir, Teresa, Umar, Valentin, Wilma, Yvonne, Zachary,
Ahmed, Bettina, Cyril, Dolores, Edgar, Fatima, George, Helena, Igor, Julia, Kofi, Lena, Martin, Nora,
Otto, Priya, Ralph, Sven, Thandi, Uma, Vincent, Willem, Yoko, Zdenka, Amélie, Björn, José, Zoë, Jürgen,
Siobhan, Wojtek, Xavier, Ngozi, Hiroshi, Beatrix, Caspian, Delphine, Evander, Florian, Gudrun"""),
    "place": _split("""
London, Paris, Berlin, Madrid, Rome, Vienna, Oslo, Dublin, Prague, Warsaw, Athens, Cairo, Delhi, Tokyo,
Seoul, Lima, Quito, Boston, Denver, Austin, Dallas, Seattle, Toronto, Montreal, Sydney, Perth, Hamburg,
Munich, Zurich, Geneva, Milan, Turin, Naples, Porto, Granada, Bilbao, Lyon, Nantes, Bruges, Utrecht,
Aarhus, Malmö, Tampere, Riga, Vilnius, Krakow, Brno, Zagreb, Sofia, Izmir, Tbilisi, Nairobi, Accra,
Dakar, Tunis, Mumbai, Jaipur, Hanoi, Manila, Osaka, Kyoto, Bogota, Santiago, Havana, Galway, Cork,
Leeds, Bristol, Cardiff, York, Bath, Whitby, Durham, Exeter, Fargo, Tulsa, Omaha, Tucson, Juneau,
Kingston, Wexford, Ashford, Millbrook, Fairview, Northgate, Old Harbour, New Haven, Port Ellen, Saint Ives"""),
    "animal": _split("""
Rex, Bella, Max, Luna, Fluffy, Spot, Shadow, Daisy, Rocky, Coco, Milo, Ginger, Buster, Nala, Pepper,
Oreo, Simba, Patch, Biscuit, Whiskers, Smokey, Tiger, Bandit, Cookie, Dusty, Ziggy, Mango, Pickles, Bramble,
Toffee, Noodle, Waffles, Pumpkin, Socks, Misty, Felix, Olive, Poppy, Scout, Hazel, Marble, Twiggy, Snowy"""),
    "dish": _split("""
pizza, soup, curry, paella, risotto, pancakes, dumplings, tacos, ramen, stew, chili, noodles, omelette,
quiche, salad, pierogi, couscous, falafel, hummus, burrito, fish pie, roast chicken, meatballs, porridge,
apple cake, bean soup, fried rice, mushroom pie, potato bake, cheese toast, stuffed peppers, kebab,
schnitzel, strudel, baklava, brownies, waffles, chowder, tempura, bibimbap, tagine, fondue, carbonara"""),
    "food": _split("""
peanuts, milk, eggs, wheat, soy, fish, honey, strawberries, tomatoes, celery, mustard, walnuts, almonds,
shrimp, pollen, dust, latex, kiwi, corn, garlic, onions, oranges, pears, chocolate, yeast, pepper, oats,
mango, cheese, butter, rye, lentils, carrots, melon, plums, squid, crab, ginger"""),
    "hobby": _split("""
painting, cycling, chess, gardening, hiking, knitting, swimming, baking, fishing, sailing, dancing,
running, pottery, climbing, origami, astronomy, surfing, rowing, skating, singing, sewing, yoga, fencing,
stamp collecting, bird watching, model trains, card games, wood carving, calligraphy, photography, boxing,
camping, judo, tennis, golf, curling, juggling, quilting, weaving, brewing"""),
    "job": _split("""
teacher, nurse, baker, carpenter, lawyer, plumber, painter, driver, dentist, doctor, farmer, gardener,
librarian, mechanic, pilot, programmer, surgeon, tailor, translator, waiter, writer, designer, chemist,
cook, florist, judge, photographer, potter, reporter, sailor, singer, soldier, violin maker, bus driver,
vet, welder, butcher, clerk, coach, dancer, detective, geologist, historian, jeweller, locksmith"""),
    "company": _split("""
Northwind, Acme, Globex, Redwood, Bluebird, Sunrise, Ironworks, City Hospital, Green Farm, Harbour Bank,
Silverline, Stonebridge, Lakeside School, Orbit Labs, Quickprint, Riverside Clinic, Tailwind, Union Books,
Vista Energy, Westfield, Yellow Cab, Zenith, Copperfield, Daybreak, Evergreen, Foxglove, Granite Works"""),
    "instrument": _split("""
piano, guitar, violin, flute, drums, trumpet, cello, harp, saxophone, organ, banjo, ukulele, accordion,
bass, horn, lute, sitar, tuba, recorder, harmonica, bagpipes, xylophone, fiddle, lyre, gong, tabla"""),
    "book": _split("""
Dracula, Emma, Ulysses, Dune, Hamlet, Macbeth, Faust, Candide, Heidi, Walden, Beloved, Persuasion, Ivanhoe,
Kim, Lolita, Utopia, Carmilla, Middlemarch, Siddhartha, Oliver Twist, Jane Eyre, Moby Dick, Robin Hood,
The Tempest, Night Train, Blue Water, Silent Hills, The Lighthouse, Winter Songs, Paper Boats"""),
    "drink": _split("""
tea, coffee, cocoa, lemonade, cider, beer, wine, water, apple juice, orange juice, green tea, iced tea, soda,
milkshake, punch, sherry, port, tonic, espresso, mint tea, black coffee, cola, smoothie, mead, stout"""),
    "flower": _split("""
roses, tulips, lilies, daisies, poppies, violets, irises, orchids, sunflowers, daffodils, lavender, jasmine,
peonies, asters, lilac, snowdrops, bluebells, primroses, crocuses, heather, marigolds, begonias"""),
    "plain": _split("""
window, river, mountain, candle, pocket, market, thunder, velvet, garden, bridge, pencil, castle, lantern, basket,
copper, feather, hammer, island, jacket, kettle, ladder, mirror, needle, ocean, parcel, quarry, ribbon, saddle,
temple, umbrella, valley, whistle, yellow, zipper, anchor, barrel, chimney, dragon, engine, forest, glacier,
harvest, insect, jungle, kingdom, lemon, marble, napkin, orchard, pebble, quiver, rocket, silver, tunnel,
village, walnut, blanket, crystal, diamond, elephant, fountain, giraffe, horizon, journey, kitchen, leather,
monster, notebook, octopus, penguin, rainbow, scissors, treasure, volcano, weather, champion, strength, quartz,
rhythm, sphinx, jigsaw, puzzle, oxygen, fuchsia, gazebo, hydrant, ivory, jubilee, karma, llama, mosquito,
nomad, opal, papaya, quinoa, rodeo, safari, tobacco, uranium, vanilla, wombat, yogurt, zeppelin, bazaar"""),
}

HELD_OUT = {
    "person": _split("""
Soraya, Ludwig, Marguerite, Desmond, Ingrid, Tobias, Camila, Rupert, Bronwyn, Matthias, Leonora, Gareth, Anneke,
Fernando, Saskia, Malcolm, Harriet, Jolanda, Ravindra, Elspeth, Casimir, Philippa, Tariq, Winifred"""),
    "place": _split("""
Gothenburg, Lisbon, Salzburg, Edinburgh, Marseille, Antwerp, Helsinki, Valencia, Brisbane, Tallinn, Budapest,
Nagoya, Chicago, Bergen, Trieste, Ljubljana, Casablanca, Sheffield, Rotterdam, Montevideo"""),
    "animal": _split("""
Rufus, Clover, Nugget, Barnaby, Truffle, Juniper, Mittens, Pretzel, Winston, Tinkerbell, Duchess, Gizmo"""),
    "dish": _split("""
lasagna, moussaka, goulash, ratatouille, enchiladas, gnocchi, shakshuka, borscht, bouillabaisse, tiramisu, ceviche,
cauliflower"""),
    "food": _split("""
cashews, shellfish, sesame, hazelnuts, gluten, apricots, mushrooms, lobster, cinnamon, pistachios"""),
    "hobby": _split("""
embroidery, archery, kayaking, beekeeping, woodworking, snorkeling, gymnastics, paragliding, badminton, crochet"""),
    "job": _split("""
beekeeper, goldsmith, bookbinder, paramedic, veterinarian, cartographer, stonemason, physicist, midwife, plasterer"""),
    "company": _split("""
Brightwater, Hollowell, Kestrel, Marlowe, Thornbury, Pinnacle, Larkspur, Meridian"""),
    "instrument": _split("""
clarinet, mandolin, trombone, bassoon, oboe, marimba, zither, viola"""),
    "book": _split("""
Frankenstein, Rebecca, Gulliver, Pinocchio, Ozymandias, Zorba, Beowulf, Northanger"""),
    "drink": _split("""
kefir, buttermilk, prosecco, horchata, cappuccino, elderflower, rooibos, kombucha"""),
    "flower": _split("""
dahlias, hydrangeas, carnations, magnolias, geraniums, camellias, hyacinths, anemones"""),
}

MONTHS = _split("""January, February, March, April, May, June, July, August, September, October, November, December""")
