//! Checks the decoding of bodies that are cut in arbitrary ways.

use bytes::Bytes;
use proptest::prelude::*;

use super::stream::RATIO_FREE;
use super::*;

const NO_RATIO: u32 = u32::MAX;

fn encode(coding: Coding, content: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(coding);
    let mut encoded = encoder.encode(content).unwrap().to_vec();
    encoded.extend_from_slice(&encoder.finish().unwrap());
    encoded
}

/// Decodes a body that arrives in these pieces. Returns the result and the decoder's peak memory.
fn decode_pieces<'a>(
    codings: &str,
    ratio: u32,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Result<Vec<u8>, DecodeError>, usize) {
    let Codings::Known(list) = Codings::parse([codings.as_bytes()]) else { panic!("{codings}") };
    let mut decoder = Decoder::new(&list, ratio);
    let (mut content, mut memory) = (Vec::new(), 0);
    let mut pieces = pieces.into_iter();
    loop {
        let pulled = decoder.pull();
        memory = memory.max(decoder.memory());
        match pulled {
            Err(error) => return (Err(error), memory),
            Ok(Pulled::Data(bytes)) => content.extend_from_slice(&bytes),
            Ok(Pulled::Ended) => return (Ok(content), memory),
            Ok(Pulled::NeedsInput) => match pieces.next() {
                Some(piece) => decoder.push(Bytes::copy_from_slice(piece)),
                None => decoder.end(),
            },
        }
    }
}

fn decode(codings: &str, body: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let (whole, _) = decode_pieces(codings, NO_RATIO, [body]);
    let (bytewise, _) = decode_pieces(codings, NO_RATIO, body.chunks(1));
    assert_eq!(whole, bytewise, "{codings}");
    whole
}

fn text(len: usize) -> Vec<u8> {
    let words = [&b"secret"[..], b"token", b"{\"name\":", b" ", b"\r\n", b"0123456789"];
    let mut seed = 7usize;
    let mut text = Vec::new();
    while text.len() < len {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(words[(seed >> 33) % words.len()]);
    }
    text.truncate(len);
    text
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..2_000),
        (0usize..300_000).prop_map(text),
        (any::<u8>(), 0usize..200_000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn codings() -> impl Strategy<Value = Vec<Coding>> {
    proptest::collection::vec(proptest::sample::select(&Coding::ALL[..]), 1..4)
}

/// Where to cut a body, in thousandths of its length.
fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0usize..=1_000, 0..20)
}

fn cut<'a>(body: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| body.len() * cut / 1_000).collect();
    at.extend([0, body.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| &body[ends[0]..ends[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_codings_in_any_pieces_are_decoded(content in content(), codings in codings(), cuts in cuts()) {
        let body = codings.iter().fold(content.clone(), |body, &coding| encode(coding, &body));
        let list = codings.iter().map(|coding| coding.name()).collect::<Vec<_>>().join(", ");
        let (decoded, _) = decode_pieces(&list, NO_RATIO, cut(&body, &cuts));
        prop_assert!(decoded == Ok(content), "{list}");
    }

    #[test]
    fn a_body_that_is_cut_short_is_an_error(len in 1usize..20_000, coding in 0usize..4, at in 0usize..1_000) {
        let coding = Coding::ALL[coding];
        let body = encode(coding, &text(len));
        let short = &body[..(body.len() - 1) * at / 1_000];
        let (decoded, _) = decode_pieces(coding.name(), NO_RATIO, [short]);
        match short {
            [] => prop_assert_eq!(decoded, Ok(Vec::new())),
            _ => prop_assert_eq!(decoded, Err(DecodeError::Truncated(coding))),
        }
    }

    #[test]
    fn damaged_input_decodes_to_an_error_or_other_content_and_never_panics(
        len in 0usize..5_000, coding in 0usize..4,
        damage in proptest::collection::vec((0usize..1_000, any::<u8>()), 1..8),
        cuts in cuts(),
    ) {
        let coding = Coding::ALL[coding];
        let mut body = encode(coding, &text(len));
        for (at, byte) in damage {
            let at = body.len() * at / 1_000;
            body[at] = byte;
        }
        let (whole, memory) = decode_pieces(coding.name(), NO_RATIO, [&body[..]]);
        let (pieces, _) = decode_pieces(coding.name(), NO_RATIO, cut(&body, &cuts));
        prop_assert_eq!(whole.is_ok(), pieces.is_ok());
        prop_assert!(whole.is_err() || whole == pieces);
        prop_assert!(memory < 32 << 20, "{}", memory);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(body in proptest::collection::vec(any::<u8>(), 0..600), coding in 0usize..4) {
        let coding = Coding::ALL[coding];
        let _ = decode_pieces(coding.name(), 1_000, [&body[..]]);
    }

    #[test]
    fn flushed_content_is_decoded_with_the_piece_that_completes_it(
        events in proptest::collection::vec(1usize..3_000, 1..20), coding in 0usize..4,
    ) {
        let coding = Coding::ALL[coding];
        let mut encoder = Encoder::new(coding);
        let mut decoder = Decoder::new(&coding.into(), NO_RATIO);
        for len in events {
            let event = text(len);
            let encoded = [encoder.encode(&event).unwrap(), encoder.flush().unwrap()].concat();
            decoder.push(encoded.into());
            let mut decoded = Vec::new();
            while let Pulled::Data(bytes) = decoder.pull().unwrap() {
                decoded.extend_from_slice(&bytes);
            }
            prop_assert!(decoded == event, "{coding:?}");
        }
    }
}

#[test]
fn gzip_members_form_one_body_and_zero_padding_is_ignored() {
    let [one, two, none] = [&b"one"[..], b"two", b""].map(|content| encode(Coding::Gzip, content));
    let decode = |parts: &[&[u8]]| decode("gzip", &parts.concat());
    assert_eq!(decode(&[&one, &two]), Ok(b"onetwo".to_vec()));
    assert_eq!(decode(&[&none, &none, &two]), Ok(b"two".to_vec()));
    for zeros in [1, 8, 512] {
        assert_eq!(decode(&[&one, &two, &vec![0; zeros]]), Ok(b"onetwo".to_vec()));
    }
    let trailing = Err(DecodeError::TrailingBytes(Coding::Gzip));
    assert_eq!(decode(&[&one, b"x"]), trailing);
    assert_eq!(decode(&[&one, &[0, 0], &two]), trailing);
    assert_eq!(decode(&[&one, &two[..2]]), Err(DecodeError::Truncated(Coding::Gzip)));
}

#[test]
fn gzip_with_a_wrong_checksum_is_corrupt() {
    let mut body = encode(Coding::Gzip, &text(1_000));
    let at = body.len() - 6;
    body[at] ^= 1;
    assert_eq!(decode("gzip", &body), Err(DecodeError::Corrupt(Coding::Gzip)));
}

#[test]
fn gzip_headers_may_have_all_optional_fields() {
    let plain = encode(Coding::Gzip, b"text");
    // With an extra field, a name and a comment.
    let mut body = vec![0x1f, 0x8b, 8, 0x1c, 0, 0, 0, 0, 0, 3, 2, 0, b'A', b'B'];
    body.extend_from_slice(b"name\0comment\0");
    body.extend_from_slice(&plain[10..]);
    assert_eq!(decode("gzip", &body), Ok(b"text".to_vec()));
}

#[test]
fn deflate_is_decoded_with_and_without_the_zlib_wrapper() {
    let content = text(40_000);
    let wrapped = encode(Coding::Deflate, &content);
    let raw = &wrapped[2..wrapped.len() - 4];
    assert_eq!(decode("deflate", &wrapped), Ok(content.clone()));
    assert_eq!(decode("deflate", raw), Ok(content));
    // The shortest deflate data.
    assert_eq!(decode("deflate", &[3, 0]), Ok(Vec::new()));
    assert_eq!(decode("deflate", &[3]), Err(DecodeError::Truncated(Coding::Deflate)));
    assert_eq!(
        decode("deflate", &[&wrapped[..], b"x"].concat()),
        Err(DecodeError::TrailingBytes(Coding::Deflate))
    );
    // A stored block whose first two bytes can't begin a zlib stream.
    assert_eq!(decode("deflate", &[1, 2, 0, 0xfd, 0xff, b'h', b'i']), Ok(b"hi".to_vec()));
}

#[test]
fn large_brotli_windows_and_trailing_bytes_are_refused() {
    let body = encode(Coding::Brotli, b"text");
    let trailing = DecodeError::TrailingBytes(Coding::Brotli);
    assert_eq!(decode("br", &[&body[..], b"x"].concat()), Err(trailing));
    let large = decode("br", &[0x11, 26, 0, 0]);
    assert!(matches!(large, Err(DecodeError::Window { coding: Coding::Brotli, .. })), "{large:?}");
}

/// A zstd frame without a checksum, with a window of 1 KiB times a power of two, and these blocks: (type, size, bytes).
fn frame(window_log: u8, blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window_log << 3];
    for (at, (kind, size, bytes)) in blocks.iter().enumerate() {
        let is_last = u32::from(at + 1 == blocks.len());
        frame.extend_from_slice(&(is_last | kind << 1 | size << 3).to_le_bytes()[..3]);
        frame.extend_from_slice(bytes);
    }
    frame
}

const RAW: u32 = 0;
const REPEATED: u32 = 1;

#[test]
fn zstd_frames_form_one_body_and_skippable_ones_are_skipped() {
    let [one, two, none] = [&b"one"[..], b"two", b""].map(|content| encode(Coding::Zstd, content));
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let decode = |parts: &[&[u8]]| decode("zstd", &parts.concat());
    assert_eq!(decode(&[&one, &two]), Ok(b"onetwo".to_vec()));
    assert_eq!(decode(&[&skippable, &one, &skippable, &none, &two, &skippable]), Ok(b"onetwo".to_vec()));
    assert_eq!(decode(&[&skippable[..10]]), Err(DecodeError::Truncated(Coding::Zstd)));
    assert_eq!(decode(&[&one, b"trailing"]), Err(DecodeError::TrailingBytes(Coding::Zstd)));
    assert_eq!(decode(&[b"no zstd"]), Err(DecodeError::Corrupt(Coding::Zstd)));
    let mut wrong = one.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert_eq!(decode(&[&wrong]), Err(DecodeError::Corrupt(Coding::Zstd)));
}

#[test]
fn zstd_blocks_of_every_kind_are_read_and_empty_ones_pass() {
    let blocks = [
        (RAW, 0, &b""[..]),
        (RAW, 2, b"ab"),
        (RAW, 0, b""),
        (REPEATED, 3, b"c"),
        (REPEATED, 0, b"d"),
        (RAW, 0, b""),
    ];
    assert_eq!(decode("zstd", &frame(0, &blocks)), Ok(b"abccc".to_vec()));
    assert_eq!(decode("zstd", &frame(0, &[(3, 0, b"")])), Err(DecodeError::Corrupt(Coding::Zstd)));
    assert_eq!(
        decode("zstd", &frame(10, &[(RAW, 128 * 1024 + 1, b"")])),
        Err(DecodeError::Corrupt(Coding::Zstd))
    );
}

#[test]
fn zstd_windows_are_limited_to_the_size_in_rfc_9659() {
    let last = [(RAW, 1, &b"x"[..])];
    assert_eq!(decode("zstd", &frame(13, &last)), Ok(b"x".to_vec()));
    let refused = decode("zstd", &frame(14, &last));
    assert!(
        matches!(refused, Err(DecodeError::Window { window: 16_777_216, max: 8_388_608, .. })),
        "{refused:?}"
    );
    // A window of 2 TiB.
    assert!(matches!(decode("zstd", &frame(31, &last)), Err(DecodeError::Window { .. })));
    let endless = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &u64::MAX.to_le_bytes()].concat();
    assert!(matches!(decode("zstd", &endless), Err(DecodeError::Window { window: u64::MAX, .. })));
    // In a frame of a single segment, the window is the size of the content.
    let single = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &(9u32 << 20).to_le_bytes()].concat();
    assert!(matches!(decode("zstd", &single), Err(DecodeError::Window { .. })));
}

#[test]
fn an_empty_body_is_empty_in_every_coding() {
    for codings in ["gzip", "deflate", "br", "zstd", "br, gzip"] {
        assert_eq!(decode(codings, b""), Ok(Vec::new()));
    }
}

#[test]
fn decompression_bombs_are_refused_by_ratio_in_bounded_memory() {
    let zeros = vec![0; 64 << 20];
    for coding in Coding::ALL {
        let bomb = encode(coding, &zeros);
        let (refused, memory) = decode_pieces(coding.name(), 200, bomb.chunks(1_000));
        assert_eq!(refused, Err(DecodeError::Ratio { coding, ratio: 200 }));
        assert!(memory < 2 << 20, "{coding:?}: {memory}");
        // A bomb inside another coding, whose outer layer is harmless.
        let twice = encode(Coding::Gzip, &bomb);
        let (refused, _) = decode_pieces(&format!("{}, gzip", coding.name()), 200, [&twice[..]]);
        assert!(matches!(refused, Err(DecodeError::Ratio { .. })), "{refused:?}");
    }
    // Repetitive, but short.
    let short = encode(Coding::Zstd, &zeros[..RATIO_FREE as usize]);
    assert!(decode_pieces("zstd", 200, [&short[..]]).0.is_ok());
}
