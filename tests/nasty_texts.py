"""Texts on which tokenizers go wrong: what they do to each is compared in several tests."""

NASTY = [
    # nothing, and next to nothing
    "", " ", "   ", "\n\t", "\u00a0", "\u200b", "\u0301",
    # accents, composed and not, two on a letter, without a letter
    "naïve café ÀÉÎÕÜ ñ å ç", "cafe\u0301 x", "\u0301a", "e\u0323\u0301 \u0301\u0301 x\u0301y",
    "x\u0301" * 60, "ά ἄ ᾳ", "¨ a¨b", "\u212b \u2126 Ǆ ǅ",
    # case
    "ΣΑΣ ΟΔΟΣ", "İstanbul ı ß ẞ DŽ", "HeLLo WORLD iPhone",
    # quotes and other punctuation
    "``q'' 'it''s", "don't can't 'tis", "«a»—b…c„d”、。！？", "“x” ‘y’ ‹z›", " .,",
    "a_b-c+d=e<f>g^h`i|j~k$", "...---...", "U.S.A. e.g. etc.",
    "http://a.b/c?d=e&f=%20#g", "@user #tag a@b.c", "≠ ≮ ;",
    # numbers
    "1,000,000.50 2000, then 3,", "in 92000, 9,9", "1,2,3,", "12," * 30, "3.14 -5 +6 $7 £8 €9 10%",
    "½ ① Ⅳ ² ٣ ३ 𝟙", "2000,2000, x2000,y",
    # scripts
    "中文字 and 日本語のテスト", "ab中文cd", "豈 㐀 𠀀", "مرحبا بالعالم، x؟ مُحَمَّد", "שָׁלוֹם עולם",
    "हिन्दी में", "বাংলা", "ไทย ภาษา", "한국어 테스트", "ᄒ\u1161\u11ab", "Привет, мир Й й", "𝔘𝔫𝔦 𐍈",
    "ａｂｃ　ＡＢＣ ﬁ ﷺ ㎏",
    # emoji: joined, flags, skin tones, variation selectors
    "🙂🙂 x", "👨‍👩‍👧‍👦 family", "🇩🇪🇫🇷", "👍🏽a", "❤️ ☺︎ 1️⃣",
    # spaces and what cannot be seen
    "a\u00a0b\u2003c\u3000d\u2028e\u1680f\u202fg", "a\tb\r\nc",
    "a\u200bb\u200dc\ufeffd\u00ade\u2060f", "\x00a\x01b\x7fc\x9fd", "a\x0bb\x0cc\x85d\x1ce",
    "\ue000 \U000f0000 \U000e0001", "\ufffd \ufffe", "\u0378 \u05ff", "\u202eabc\u202c",
    # long words
    "x" * 100, "x" * 101, "x" * 5000, "antidisestablishmentarianism" * 20, "ÀÉ" * 30,
    # special tokens and marks of pieces in the text
    "[CLS] x [SEP] y[PAD]", "a[MASK]b [mask] [Mask]", " [MASK]  [MASK][MASK] ", "[UNK]<unk>x<pad>",
    "[ MASK ]", "[[MASK]]", "##ing a##b # # ##", "▁", "a▁b ▁ ▁▁c",
]
SURROGATES = ["\ud83d alone", "a\udc00b", "\ude00\ud83d"]      # which cannot be written as UTF-8
