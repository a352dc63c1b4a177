# %% [markdown]
# # Solutions to 03 · Tokens

# %% [markdown]
# **1.** Between 12 letters there are 11 places, and each is cut or not: 2,048.

# %% ways_to_cut
ways = 2**11

# %% [markdown]
# **2.** One loop fills the table, another walks back along the winners.


# %% viterbi
def viterbi(word, scores):
    best, origin = [0.0] + [-np.inf] * len(word), [0] * (len(word) + 1)
    for stop in range(1, len(word) + 1):
        for start in range(stop):
            score = best[start] + scores.get(word[start:stop], -np.inf)
            if score > best[stop]:
                best[stop], origin[stop] = score, start
    pieces, stop = [], len(word)
    while stop:
        pieces.insert(0, word[origin[stop]:stop])
        stop = origin[stop]
    return pieces


# %% [markdown]
# **3.** From the longest end to the shortest. When the inner loop finds nothing, the whole word is unknown.


# %% wordpiece
def wordpiece(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        stops = [stop for stop in range(len(word), start, -1)
                 if prefix + word[start:stop] in vocabulary]
        if not stops:
            return ["[UNK]"]
        pieces.append(prefix + word[start:stops[0]])
        start = stops[0]
    return pieces


# %% [markdown]
# **4.** Every path adds its probability to the count of each of its pieces, once for each time that it uses it.


# %% piece_counts
def piece_counts(word, scores):
    paths = segmentations(word, scores)
    weights = np.exp([sum(scores[piece] for piece in path) for path in paths])
    weights /= weights.sum()
    return np.array([sum(weight * path.count(piece)
                         for path, weight in zip(paths, weights, strict=True)) for piece in scores])


# %% [markdown]
# **5.** The order matters once: accents can be dropped only after NFKD has made them characters of their own.


# %% plain_text
def plain_text(text):
    text = unicodedata.normalize("NFKD", " ".join(text.split()))
    return "".join(c for c in text if not unicodedata.combining(c)).lower()


# %% [markdown]
# **6.** A piece is divided where its last character is a comma and the one before it a digit. `piece[-2:-1]` is an
# empty string where `piece[-2]` would be an error.


# %% digit_comma
def digit_comma(pieces):
    result = []
    for piece in pieces:
        if piece[-1] == "," and piece[-2:-1].isdigit():
            result += [piece[:-1], ","]
        else:
            result.append(piece)
    return result
