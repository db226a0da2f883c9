//! What an Event says, within the 1,024 bytes that Kubernetes takes.

const MOST: usize = 1024;

/// `head`, and as many of the entries behind it as there is room for, each whole; how many more there are.
pub(crate) fn list(head: &str, separator: &str, entries: &[String]) -> String {
    let mut note = head.to_owned();
    for (number, entry) in entries.iter().enumerate() {
        let separator = if number == 0 { "" } else { separator };
        let rest = entries.len() - number - 1;
        let behind = if rest == 0 { 0 } else { and_more(rest).len() };
        if note.len() + separator.len() + entry.len() + behind > MOST {
            note += &and_more(rest + 1);
            break;
        }
        note += separator;
        note += entry;
    }
    note
}

fn and_more(rest: usize) -> String {
    format!(" and {rest} more")
}

/// For what is no list: the API server refuses an Event whose note is too long.
pub(crate) fn cut(mut note: String) -> String {
    const ELLIPSIS: char = '…';
    if note.len() > MOST {
        note.truncate(note.floor_char_boundary(MOST - ELLIPSIS.len_utf8()));
        note.push(ELLIPSIS);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_fits_is_told_whole() {
        let entries = ["shop/a".to_owned(), "shop/b".to_owned()];
        assert_eq!(list("2 stay: ", "; ", &entries), "2 stay: shop/a; shop/b");
        assert_eq!(list("none", "; ", &[]), "none");
    }

    #[test]
    fn of_a_longer_one_no_name_is_cut_and_none_is_forgotten() {
        // Of every length, so that each way of not fitting comes up; with letters of two bytes.
        for length in 1..600 {
            let entries: Vec<String> =
                (0..40).map(|number| format!("{number}{}", "ü".repeat(length))).collect();
            let note = list("40 stay: ", "; ", &entries);
            assert!(note.len() <= MOST, "{length}: {}", note.len());
            let told = note.strip_prefix("40 stay: ").unwrap();
            let (told, more) = told.rsplit_once(" and ").map_or((told, 0), |(told, more)| {
                (told, more.strip_suffix(" more").unwrap().parse().unwrap())
            });
            let named: Vec<&str> = told.split("; ").filter(|entry| !entry.is_empty()).collect();
            assert_eq!(named, entries[..named.len()], "{length}");
            assert_eq!(named.len() + more, entries.len(), "{length}");
            let room = MOST - note.len();
            assert!(more == 0 || room < "; ".len() + entries[named.len()].len() + 2, "{length}: {room} left");
        }
    }

    #[test]
    fn what_is_no_list_is_cut_between_letters_and_says_so() {
        assert_eq!(cut("short".to_owned()), "short");
        assert_eq!(cut("x".repeat(MOST)), "x".repeat(MOST));
        for letter in ["x", "ü", "…", "🦀"] {
            let note = cut(letter.repeat(MOST + 1));
            assert!(note.len() <= MOST && note.len() > MOST - 8 && note.ends_with('…'), "{}", note.len());
        }
    }
}
