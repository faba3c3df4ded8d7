//! What a tree of good layers looks like.

use std::rc::Rc;

use super::*;
use crate::guest::tree::Stack;

#[test]
fn files_are_slices_of_the_layer() {
    let tree = tree(&[file("a/b", "text"), file("empty", "")]);
    assert_eq!(shown(&tree, "a/b").as_deref(), Some("text"));
    assert_eq!(shown(&tree, "empty").as_deref(), Some(""));
    assert_eq!(shown(&tree, "a").as_deref(), Some("/"));
    assert_eq!(shown(&tree, "b"), None);
}

#[test]
fn the_root_lists_dev_and_tmp_among_the_layers_names_in_byte_order() {
    let mut tree = tree(&[
        file("usr/x", ""),
        file("a", ""),
        file("Z", ""),
        file("e", ""),
    ]);
    assert_eq!(names(&mut tree, ""), ["Z", "a", "dev", "e", "tmp", "usr"]);
    assert_eq!(names(&mut Tree::new(vec![]).unwrap(), ""), ["dev", "tmp"]);
}

#[test]
fn an_image_may_list_dev_and_tmp_empty() {
    let mut tree = tree(&[directory("dev/"), directory("./tmp"), file("a", "")]);
    assert_eq!(names(&mut tree, ""), ["a", "dev", "tmp"]);
}

#[test]
fn a_higher_layer_hides_files_and_merges_directories() {
    let mut tree = Tree::new(vec![
        layer("top", &[file("d/both", "top"), file("d/top", "1")]),
        layer("middle", &[file("d/both", "middle"), file("d/middle", "2")]),
        layer("bottom", &[file("d/both", "bottom"), file("d/bottom", "3")]),
    ])
    .unwrap();
    assert_eq!(names(&mut tree, "d"), ["both", "bottom", "middle", "top"]);
    assert_eq!(shown(&tree, "d/both").as_deref(), Some("top"));
    assert_eq!(shown(&tree, "d/bottom").as_deref(), Some("3"));
}

#[test]
fn a_file_over_a_directory_hides_all_that_is_under_it() {
    let mut tree = Tree::new(vec![
        layer("top", &[file("d", "file")]),
        layer("bottom", &[file("d/x/y", "1"), file("e", "2")]),
    ])
    .unwrap();
    assert_eq!(names(&mut tree, ""), ["d", "dev", "e", "tmp"]);
    assert_eq!(shown(&tree, "d").as_deref(), Some("file"));
    assert_eq!(shown(&tree, "d/x"), None);
}

#[test]
fn a_directory_over_a_file_or_link_hides_it() {
    let tree = Tree::new(vec![
        layer("top", &[directory("d"), file("l/x", "1")]),
        layer("bottom", &[file("d", "file"), symlink("l", "d")]),
    ])
    .unwrap();
    assert_eq!(shown(&tree, "d").as_deref(), Some("/"));
    assert_eq!(shown(&tree, "l/x").as_deref(), Some("1"));
}

#[test]
fn a_directory_that_came_back_is_empty_of_what_was_hidden() {
    let mut tree = Tree::new(vec![
        layer("top", &[file("d/new", "")]),
        layer("middle", &[file("d", "file")]),
        layer("bottom", &[file("d/old", "")]),
    ])
    .unwrap();
    assert_eq!(names(&mut tree, "d"), ["new"]);
    assert_eq!(shown(&tree, "d/old"), None);
}

#[test]
fn the_last_of_two_files_of_one_name_counts() {
    let mut tree = tree(&[file("a", "first"), file("a", "second")]);
    assert_eq!(shown(&tree, "a").as_deref(), Some("second"));
    assert_eq!(names(&mut tree, ""), ["a", "dev", "tmp"]);
}

#[test]
fn hard_links_share_what_their_own_layer_holds() {
    let tree = Tree::new(vec![
        layer("top", &[file("a", "top")]),
        layer(
            "bottom",
            &[
                file("a", "bottom"),
                hard_link("b", "./a"),
                hard_link("c", "b"),
            ],
        ),
    ])
    .unwrap();
    assert_eq!(shown(&tree, "a").as_deref(), Some("top"));
    assert_eq!(shown(&tree, "b").as_deref(), Some("bottom"));
    assert_eq!(shown(&tree, "c").as_deref(), Some("bottom"));
}

#[test]
fn symbolic_links_keep_their_target_as_written() {
    let tree = tree(&[symlink("a", "../../etc//x"), symlink("b", "/nowhere")]);
    assert_eq!(shown(&tree, "a").as_deref(), Some("->../../etc//x"));
    assert_eq!(shown(&tree, "b").as_deref(), Some("->/nowhere"));
}

#[test]
fn odd_but_harmless_paths_are_made_plain() {
    let tree = tree(&[
        directory("./"),
        file("./a//b", "1"),
        file("a/./c", "2"),
        directory("d///"),
        Entry::new(b'\0', "old/").bytes(),
    ]);
    assert_eq!(shown(&tree, "a/b").as_deref(), Some("1"));
    assert_eq!(shown(&tree, "a/c").as_deref(), Some("2"));
    assert_eq!(shown(&tree, "d").as_deref(), Some("/"));
    assert_eq!(shown(&tree, "old").as_deref(), Some("/"));
}

#[test]
fn long_names_come_from_prefix_gnu_and_pax_headers() {
    let long = "n".repeat(200);
    let deep = format!("{}/{}", "d".repeat(150), "f".repeat(90));
    let mut split = Entry::new(b'0', &"f".repeat(90));
    split.put(345, "d".repeat(150).as_bytes());
    let gnu = Entry::new(b'L', "././@LongLink").data(format!("{long}g\0").as_bytes());
    let link = Entry::new(b'K', "././@LongLink").data(format!("{long}t\0").as_bytes());
    let tree = tree(&[
        split.data(b"prefix").bytes(),
        gnu.bytes(),
        file("cut", "gnu"),
        pax(&[("path", &format!("{long}p")), ("comment", "no")]),
        file("cut", "pax"),
        link.bytes(),
        symlink("s", "cut"),
        pax(&[("linkpath", &format!("{long}q"))]),
        symlink("t", "cut"),
    ]);
    assert_eq!(shown(&tree, &deep).as_deref(), Some("prefix"));
    assert_eq!(shown(&tree, &format!("{long}g")).as_deref(), Some("gnu"));
    assert_eq!(shown(&tree, &format!("{long}p")).as_deref(), Some("pax"));
    assert_eq!(shown(&tree, "s"), Some(format!("->{long}t")));
    assert_eq!(shown(&tree, "t"), Some(format!("->{long}q")));
    assert_eq!(shown(&tree, "cut"), None);
}

#[test]
fn the_prefix_of_a_gnu_header_is_something_else() {
    let mut entry = Entry::new(b'0', "a");
    entry.put(257, b"ustar  \0");
    entry.put(345, b"00000000000");
    assert_eq!(shown(&tree(&[entry.bytes()]), "a").as_deref(), Some(""));
}

#[test]
fn sizes_may_be_in_base_256_or_pax() {
    let mut wide = Entry::new(b'0', "wide").data(b"abc");
    wide.put(124, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
    let mut zero = Entry::new(b'0', "zero").data(b"abcd");
    zero.put(124, b"00000000000\0");
    let tree = tree(&[
        wide.bytes(),
        pax(&[("size", "4")]),
        zero.bytes(),
        file("z", ""),
    ]);
    assert_eq!(shown(&tree, "wide").as_deref(), Some("abc"));
    assert_eq!(shown(&tree, "zero").as_deref(), Some("abcd"));
    assert_eq!(shown(&tree, "z").as_deref(), Some(""));
}

#[test]
fn times_come_from_the_layer_where_it_has_them() {
    let tree = tree(&[
        file("d/a", ""),
        pax(&[("mtime", "1700000000.75")]),
        file("b", ""),
    ]);
    let time = |path| tree.modified_seconds(at(&tree, path).unwrap());
    assert_eq!(time("d/a"), Some(0o21));
    assert_eq!(time("b"), Some(1_700_000_000));
    assert_eq!(time("d"), None);
}

#[test]
fn an_archive_ends_at_zeros_or_where_the_file_ends() {
    let padded = file("a", "1");
    let cut = padded.get(..513).unwrap().to_vec();
    for bytes in [padded, cut, Vec::new(), vec![0; 512]] {
        let tar = TarLayer::from_bytes(bytes, "image").unwrap();
        assert!(Tree::new(vec![tar]).is_ok());
    }
    let tree = tree(&[file("a", "1"), vec![0; 512], file("b", "2")]);
    assert_eq!(shown(&tree, "b"), None);
}

#[test]
fn many_names_in_many_directories_are_all_found() {
    let entries: Vec<Vec<u8>> = (0..5000)
        .map(|n| file(&format!("d{}/e{}/f{n}", n % 7, n % 11), "x"))
        .collect();
    let mut tree = tree(&entries);
    for n in 0..5000 {
        let path = format!("d{}/e{}/f{n}", n % 7, n % 11);
        assert_eq!(shown(&tree, &path).as_deref(), Some("x"), "{path}");
    }
    let mut count = 0;
    for directory in 0..7 {
        for below in 0..11 {
            let listed = names(&mut tree, &format!("d{directory}/e{below}"));
            assert!(listed.is_sorted());
            count += listed.len();
        }
    }
    assert_eq!(count, 5000);
}

#[test]
fn layers_over_an_indexed_stack_are_the_tree_of_all() {
    let lower = || {
        vec![
            layer("middle", &[file("d/both", "middle"), file("x", "2")]),
            layer("bottom", &[file("d/both", "bottom"), directory("d/sub")]),
        ]
    };
    let uppers: [&[Vec<u8>]; 4] = [
        &[],
        &[file("d/both", "top"), file("d/new", "3")],
        &[file("d", "a file over a directory")],
        &[hard_link("link", "x")],
    ];
    let mut base = Stack::new(lower()).unwrap();
    base.list();
    let base = Rc::new(base);
    let before = walk(&mut Tree::over(&base, Vec::new()).unwrap());
    assert_eq!(before, walk(&mut Tree::new(lower()).unwrap()));
    for entries in uppers {
        let upper = || vec![layer("top", entries)];
        let all = upper().into_iter().chain(lower()).collect();
        match (Tree::over(&base, upper()), Tree::new(all)) {
            (Ok(mut over), Ok(mut all)) => {
                assert_eq!((over.layers(), all.layers()), (3, 3));
                assert_eq!(walk(&mut over), walk(&mut all));
            }
            (Err(over), Err(all)) => assert_eq!(over.to_string(), all.to_string()),
            (over, all) => panic!("{over:?} {all:?}"),
        }
    }
    // Whoever shares it sees nothing of that.
    assert_eq!(walk(&mut Tree::over(&base, Vec::new()).unwrap()), before);
}
