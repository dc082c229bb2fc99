// The transform of a row of 192, 1536, 2048 or 3072 complex numbers, eight neighbours in each enabled cycle. Lane j has the
// numbers 8 m + j: a pipeline of radix-3 and radix-2 stages for each, then eight points across. Out come, in some order
// of v below D / 8, the eight sums of frequencies v + r D / 8, over 2^8, 2^11, 2^11 or 2^12.
module hidden_fft #(
    parameter W = 27
) (
    input clk,
    input rst,
    input en,
    input [1:0] shape,  // 192, 1536, 2048, 3072; steady while frames are under way
    input first,  // the first eight of a row; D / 8 enabled cycles are the row
    input [16*W-1:0] x,
    output valid,
    output [8:0] frequency,
    output [16*W-1:0] y
);
    wire power = shape == 2;
    wire tiny = shape == 0;

    // Stages that a length does not have let points pass.
    wire [16*W-1:0] s3, s128, s64, s32, s16, s8, s4, s2, s1;
    wire f3, f128, f64, f32, f16, f8, f4, f2, f1;
    radix3 #(.W(W)) stage3 (
        .clk(clk), .rst(rst), .en(en), .bypass(power), .third(tiny ? 8'd8 : shape == 1 ? 8'd64 : 8'd128),
        .stride(tiny ? 3'd4 : shape == 1 ? 3'd1 : 3'd0), .first(first), .x(x), .first_out(f3), .y(s3)
    );
    radix2 #(.DELAY(128), .W(W), .FILE("tables/root_256.hex")) stage128 (
        .clk(clk), .rst(rst), .en(en), .bypass(!power), .first(f3), .x(s3), .first_out(f128), .y(s128)
    );
    radix2 #(.DELAY(64), .W(W), .FILE("tables/root_128.hex")) stage64 (
        .clk(clk), .rst(rst), .en(en), .bypass(!shape[1]), .first(f128), .x(s128), .first_out(f64), .y(s64)
    );
    radix2 #(.DELAY(32), .W(W), .FILE("tables/root_64.hex")) stage32 (
        .clk(clk), .rst(rst), .en(en), .bypass(tiny), .first(f64), .x(s64), .first_out(f32), .y(s32)
    );
    radix2 #(.DELAY(16), .W(W), .FILE("tables/root_32.hex")) stage16 (
        .clk(clk), .rst(rst), .en(en), .bypass(tiny), .first(f32), .x(s32), .first_out(f16), .y(s16)
    );
    radix2 #(.DELAY(8), .W(W), .FILE("tables/root_16.hex")) stage8 (
        .clk(clk), .rst(rst), .en(en), .bypass(tiny), .first(f16), .x(s16), .first_out(f8), .y(s8)
    );
    radix2 #(.DELAY(4), .W(W), .FILE("tables/root_8.hex")) stage4 (
        .clk(clk), .rst(rst), .en(en), .bypass(1'b0), .first(f8), .x(s8), .first_out(f4), .y(s4)
    );
    radix2 #(.DELAY(2), .W(W), .FILE("tables/root_4.hex")) stage2 (
        .clk(clk), .rst(rst), .en(en), .bypass(1'b0), .first(f4), .x(s4), .first_out(f2), .y(s2)
    );
    radix2 #(.DELAY(1), .W(W)) stage1 (
        .clk(clk), .rst(rst), .en(en), .bypass(1'b0), .first(f2), .x(s2), .first_out(f1), .y(s1)
    );

    // Which frequency a lane's point is: the third counts, the rest is read backwards.
    reg [7:0] index;
    reg [1:0] third;
    reg busy;
    wire [7:0] at = f1 ? 8'd0 : index;
    wire [1:0] at_third = f1 ? 2'd0 : third;
    wire [7:0] last = tiny ? 8'd7 : shape == 1 ? 8'd63 : power ? 8'd255 : 8'd127;
    wire now = f1 | busy;
    wire ends = at == last & (power | at_third == 2);
    wire [7:0] backwards = {at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]};
    wire [7:0] reversed = tiny ? backwards >> 5 : shape == 1 ? backwards >> 2 : power ? backwards : backwards >> 1;
    wire [8:0] low = {1'b0, reversed};
    // The frequency, the row of the tables, and their registers.
    reg [8:0] v0, v1, v2;
    reg [9:0] row;
    reg valid0, valid1, valid2;
    reg [16*W-1:0] p0, p1, p2;
    always @(posedge clk) begin
        if (en) begin
            index <= at == last ? 8'd0 : at + 1'b1;
            third <= at == last ? at_third + 1'b1 : at_third;
            busy <= now & !ends;
            v0 <= power ? low : low + {low[7:0], 1'b0} + at_third;
            {valid0, p0} <= {now, s1};
            row <= power ? 10'd384 + v0 : tiny ? {v0[5:0], 4'd0} : shape == 1 ? {v0, 1'b0} : {1'b0, v0};
            {v1, valid1, p1} <= {v0, valid0, p0};
            {v2, valid2, p2} <= {v1, valid1, p1};
        end
        if (rst) {busy, valid0, valid1, valid2} <= 0;
    end

    wire [16*W-1:0] crossed;
    genvar j;
    generate
        for (j = 0; j < 8; j = j + 1) begin : lane
            if (j == 0) begin : straight
                reg [2*W-1:0] a, b, c;
                always @(posedge clk) if (en) {c, b, a} <= {b, a, p2[0+:2*W]};
                assign crossed[0+:2*W] = c;
            end else begin : turn
                reg [35:0] roots[0:639];
                localparam [7:0] DIGIT = 8'd48 + j;
                initial $readmemh({"tables/cross_", DIGIT, ".hex"}, roots);
                reg [35:0] root;
                always @(posedge clk) if (en) root <= roots[row];
                rotate #(.W(W)) rotate (
                    .clk(clk), .en(en), .re(p2[2*j*W+:W]), .im(p2[(2*j+1)*W+:W]), .root(root),
                    .re_out(crossed[2*j*W+:W]), .im_out(crossed[(2*j+1)*W+:W])
                );
            end
        end
    endgenerate
    across #(.W(W)) across (.clk(clk), .en(en), .x(crossed), .y(y));

    // Three registers of the products and six across.
    reg [89:0] later;
    always @(posedge clk) begin
        if (en) later <= {later[79:0], valid2, v2};
        if (rst) later <= 0;
    end
    assign {valid, frequency} = later[89:80];
endmodule
